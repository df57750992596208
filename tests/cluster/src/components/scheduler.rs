//! The scheduler. It is the only replica, so it needs no lease.

use super::{Component, Site, program};
use crate::probes::{Probe, Web};

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let kubeconfig = layout.kubeconfig("scheduler");
    let flags = [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", site.network.node()),
        format!("--tls-cert-file={}", layout.cert("scheduler-server")),
        format!("--tls-private-key-file={}", layout.key("scheduler-server")),
        "--leader-elect=false".to_owned(),
        // For the thousands of pods of `make bench-scale`, as for the controller manager.
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Component {
        program: program(site, "kube-scheduler", &flags),
        files: vec![],
        probe: Probe::Web(Web {
            url: format!("https://{}:10259/healthz", site.network.node()),
            ca: Some(layout.cert("ca")),
            ..Web::default()
        }),
    }
}
