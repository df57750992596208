//! The controller manager. Each of its controllers has a ServiceAccount of its own. It is the only replica, so it needs
//! no lease.

use super::{Component, Site, program};
use crate::probes::{Probe, Web};

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let kubeconfig = layout.kubeconfig("controller-manager");
    let flags = [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", site.network.node()),
        format!(
            "--tls-cert-file={}",
            layout.cert("controller-manager-server")
        ),
        format!(
            "--tls-private-key-file={}",
            layout.key("controller-manager-server")
        ),
        format!("--root-ca-file={}", layout.cert("ca")),
        format!("--cluster-signing-cert-file={}", layout.cert("ca")),
        format!("--cluster-signing-key-file={}", layout.key("ca")),
        format!(
            "--service-account-private-key-file={}",
            layout.key("service-accounts")
        ),
        // By default it would create a folder in /usr.
        format!(
            "--flex-volume-plugin-dir={}",
            layout.at("kubelet/volume-plugins")
        ),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        // With the defaults, 20 requests a second and five workers, `make bench-scale` would measure these limits.
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
        "--concurrent-deployment-syncs=20".to_owned(),
        "--concurrent-replicaset-syncs=20".to_owned(),
        "--concurrent-service-endpoint-syncs=20".to_owned(),
        "--profiling=false".to_owned(),
    ];
    Component {
        program: program(site, "kube-controller-manager", &flags),
        files: vec![],
        probe: Probe::Web(Web {
            url: format!("https://{}:10257/healthz", site.network.node()),
            ca: Some(layout.cert("ca")),
            ..Web::default()
        }),
    }
}
