//! The API server: Node and RBAC authorisation, no anonymous access, aggregation, an audit log of every write and of
//! the operator's reads.

use super::{Component, Site, program};
use crate::files::File;
use crate::layout::Layout;
use crate::probes::{Probe, Web};

pub fn component(site: &Site) -> Component {
    let (layout, network) = (&site.layout, site.network);
    let policy = layout.at("apiserver/audit-policy.yaml");
    let pair = |flag: &str, name: &str| {
        [
            format!("--{flag}-cert-file={}", layout.cert(name)),
            format!("--{flag}-key-file={}", layout.key(name)),
        ]
    };
    let mut flags = vec![
        format!("--bind-address={}", network.node()),
        format!("--advertise-address={}", network.node()),
        "--secure-port=6443".to_owned(),
        format!("--service-cluster-ip-range={}", network.services()),
        "--anonymous-auth=false".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        // The volume helper's pods are privileged.
        "--allow-privileged".to_owned(),
        "--profiling=false".to_owned(),
        format!("--client-ca-file={}", layout.cert("ca")),
        format!("--etcd-servers={}", network.etcd()),
        format!("--etcd-cafile={}", layout.cert("etcd-ca")),
        format!("--etcd-certfile={}", layout.cert("apiserver-etcd")),
        format!("--etcd-keyfile={}", layout.key("apiserver-etcd")),
        // For logs and exec: the node's name cannot be resolved, so its address is used.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-certificate-authority={}", layout.cert("ca")),
        format!(
            "--kubelet-client-certificate={}",
            layout.cert("apiserver-kubelet")
        ),
        format!("--kubelet-client-key={}", layout.key("apiserver-kubelet")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!(
            "--service-account-key-file={}",
            layout.public_key("service-accounts")
        ),
        format!(
            "--service-account-signing-key-file={}",
            layout.key("service-accounts")
        ),
        // Pods serve aggregated APIs, and are reached by their own addresses.
        "--enable-aggregator-routing".to_owned(),
        format!(
            "--requestheader-client-ca-file={}",
            layout.cert("front-proxy-ca")
        ),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--audit-policy-file={policy}"),
        format!("--audit-log-path={}", audit_log(layout)),
        // One event a line, written before the request is answered, in at most two files of this many megabytes. They
        // are large because a test that reads from a mark fails if a new file was begun since.
        "--audit-log-mode=blocking".to_owned(),
        "--audit-log-format=json".to_owned(),
        "--audit-log-maxsize=500".to_owned(),
        "--audit-log-maxbackup=1".to_owned(),
    ];
    flags.extend(
        pair("tls", "apiserver-server")
            .map(|flag| flag.replace("tls-key-file", "tls-private-key-file")),
    );
    flags.extend(pair("proxy-client", "front-proxy"));
    Component {
        program: program(site, "kube-apiserver", &flags),
        files: vec![File::public(
            policy,
            include_str!("../../manifests/audit-policy.yaml"),
        )],
        probe: Probe::Web(ask(site, "/readyz")),
    }
}

pub fn audit_log(layout: &Layout) -> String {
    layout.at("audit/audit.log")
}

/// A path of the API, requested as the admin.
pub fn ask(site: &Site, path: &str) -> Web {
    Web {
        url: format!("{}{path}", site.network.api_server()),
        ca: Some(site.layout.cert("ca")),
        client: Some((site.layout.cert("admin"), site.layout.key("admin"))),
        account: None,
    }
}
