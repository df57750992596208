//! CoreDNS: resolves the cluster's names, and asks the machine's own resolvers for others. It runs beside the kubelet,
//! so names resolve before the first pod runs.

use super::{Component, Site, program};
use crate::files::File;
use crate::network::DNS_DOMAIN;
use crate::probes::Probe;

/// The plugins that the Corefile below uses; CoreDNS is built with only these.
pub const PLUGINS: [&str; 5] = ["bind", "cache", "errors", "forward", "kubernetes"];

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let node = site.network.node();
    let config = layout.at("Corefile");
    // Only names from outside are cached, so a Service is found as soon as it exists.
    let content = format!(
        "{DNS_DOMAIN}:1053 in-addr.arpa:1053 ip6.arpa:1053 {{
    bind {node}
    errors
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    forward . {resolvers}
}}
.:1053 {{
    bind {node}
    errors
    forward . {resolvers}
    cache 30
}}
",
        kubeconfig = layout.kubeconfig("dns"),
        resolvers = site.resolv_conf,
    );
    Component {
        program: program(site, "coredns", &[format!("-conf={config}")]),
        files: vec![File::public(config, content)],
        probe: Probe::Resolves(format!("{node}:1053")),
    }
}
