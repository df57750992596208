//! etcd: the API server's store, over mutual TLS. Its data is deleted with the cluster, so it does not wait for the
//! disk.

use super::{Component, Site, program};
use crate::probes::{Probe, Web};

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let url = site.network.etcd();
    let peer = format!("https://{}:2380", site.network.node());
    let (ca, cert, key) = (
        layout.cert("etcd-ca"),
        layout.cert("etcd-server"),
        layout.key("etcd-server"),
    );
    let flags = [
        "--name=node".to_owned(),
        format!("--data-dir={}", layout.at("etcd")),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={ca}"),
        format!("--cert-file={cert}"),
        format!("--key-file={key}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=node={peer}"),
        "--peer-client-cert-auth".to_owned(),
        format!("--peer-trusted-ca-file={ca}"),
        format!("--peer-cert-file={cert}"),
        format!("--peer-key-file={key}"),
        "--unsafe-no-fsync".to_owned(),
        // Enough for ten thousand Apps with all their objects, and for old versions until they are compacted.
        format!("--quota-backend-bytes={}", 8_u64 << 30),
        "--log-level=warn".to_owned(),
    ];
    Component {
        program: program(site, "etcd", &flags),
        files: vec![],
        probe: Probe::Web(Web {
            url: format!("{url}/readyz"),
            ca: Some(ca),
            client: Some((layout.cert("apiserver-etcd"), layout.key("apiserver-etcd"))),
            account: None,
        }),
    }
}
