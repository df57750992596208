//! kube-proxy: makes Services reachable for pods and from the machine itself. NodePorts listen only on the node's
//! address, never on an outer interface.

use serde_json::json;

use super::{Component, Site, program};
use crate::files::File;
use crate::network::NODE_NAME;
use crate::probes::{Probe, Web};

pub fn component(site: &Site) -> Component {
    let (layout, network) = (&site.layout, site.network);
    let config = layout.at("proxy.json");
    let content = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": layout.kubeconfig("proxy")},
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": network.pods(),
        "detectLocalMode": "ClusterCIDR",
        "bindAddress": network.node(),
        "nodePortAddresses": [format!("{}/32", network.node())],
        "healthzBindAddress": format!("{}:10256", network.node()),
        "metricsBindAddress": format!("{}:10249", network.node()),
        "oomScoreAdj": 0,
        "iptables": {"localhostNodePorts": false, "minSyncPeriod": "100ms"},
        // Zero leaves the machine's limits unchanged.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    });
    Component {
        program: program(site, "kube-proxy", &[format!("--config={config}")]),
        files: vec![File::public(config, format!("{content:#}\n"))],
        probe: Probe::Web(Web {
            url: format!("http://{}:10256/healthz", network.node()),
            ..Web::default()
        }),
    }
}
