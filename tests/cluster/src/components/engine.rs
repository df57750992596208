//! The cluster's own Docker Engine, in a network namespace of its own, so that its bridges, packet filter and ports
//! conflict with no other engine's. The operator reaches it over TLS with a client certificate. It reads the registry's
//! authority from SSL_CERT_FILE, so nothing is written to /etc/docker.

use serde_json::json;

use super::{Component, Site};
use crate::cgroups;
use crate::files::File;
use crate::network::{ENGINE_NETNS, Network};
use crate::probes::{Probe, Web};
use crate::processes::Program;

pub fn address(network: Network) -> String {
    format!("tcp://{}:2376", network.engine())
}

pub fn component(site: &Site) -> Component {
    let (layout, network) = (&site.layout, site.network);
    let config = layout.at("engine/daemon.json");
    let content = json!({
        "hosts": [format!("unix://{}", layout.engine_socket()), address(network)],
        "tlsverify": true,
        "tlscacert": layout.cert("engine-ca"),
        "tlscert": layout.cert("engine-server"),
        "tlskey": layout.key("engine-server"),
        "data-root": layout.at("engine/data"),
        "exec-root": layout.at("engine/run"),
        "pidfile": layout.at("engine/dockerd.pid"),
        // The path of a key that nothing uses; otherwise the Engine would create it below /etc.
        "deprecated-key-path": layout.at("engine/key.json"),
        "bip": network.engine_bridge(),
        "default-address-pools": [{"base": network.engine_pool(), "size": 24}],
        "mtu": site.mtu,
        "cgroup-parent": format!("/{}", cgroups::ENGINE),
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "storage-driver": "overlay2",
        "log-opts": {"max-size": "20m"},
        "shutdown-timeout": 5,
    });
    let words = [
        "nsenter",
        &format!("--net=/run/netns/{ENGINE_NETNS}"),
        "dockerd",
        &format!("--config-file={config}"),
    ];
    Component {
        program: Program {
            name: "dockerd",
            words: words.map(str::to_owned).to_vec(),
            environment: vec![
                ("SSL_CERT_FILE", layout.ca_bundle()),
                // Debian's Engine needs Debian's own containerd.
                ("PATH", crate::command::SYSTEM_PATH.to_owned()),
            ],
        },
        files: vec![File::public(config, format!("{content:#}\n"))],
        probe: Probe::Web(Web {
            url: format!("https://{}:2376/_ping", network.engine()),
            ca: Some(layout.cert("engine-ca")),
            client: Some((layout.cert("engine-client"), layout.key("engine-client"))),
            account: None,
        }),
    }
}
