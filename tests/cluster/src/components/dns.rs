//! CoreDNS: the names of the cluster, and the machine's own resolvers for the rest. It runs beside the kubelet, so names work before the first pod does.

use super::{Component, Site, program};
use crate::files::File;
use crate::network::DNS_DOMAIN;
use crate::probes::Probe;

/// What the Corefile below names; CoreDNS is built with these alone.
pub const PLUGINS: [&str; 5] = ["bind", "cache", "errors", "forward", "kubernetes"];

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let node = site.network.node();
    let config = layout.at("Corefile");
    // Only what comes from outside is cached: a Service is found the moment it is there.
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
