//! containerd for the pods, with the pod network and the registry's pull name. Only containerd can resolve that name
//! and has an account for it.

use serde_json::json;

use super::{Component, PULL_ACCOUNT, Site, program};
use crate::files::File;
use crate::images;
use crate::network::{Network, POD_NETWORK};
use crate::probes::{Probe, basic};

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let config = layout.at("containerd/config.toml");
    Component {
        program: program(site, "containerd", &[format!("--config={config}")]),
        files: vec![
            File::public(config, content(site)),
            File::public(
                layout.at("cni/net.d/10-slipway.conflist"),
                pod_network(site),
            ),
            File::secret(
                layout.at(&format!(
                    "containerd/certs.d/{}/hosts.toml",
                    Network::pull_registry()
                )),
                registry_host(site),
            ),
        ],
        probe: Probe::Socket(layout.containerd_socket()),
    }
}

fn content(site: &Site) -> String {
    let layout = &site.layout;
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
temp = "{temp}"
imports = []

[grpc]
  address = "{socket}"

[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{shims}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE a lower score cannot be set, and every sandbox would fail.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      Root = "{runc}"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{bin}"]
    conf_dir = "{cni}"
    use_internal_loopback = true

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{certs}"
"#,
        root = layout.at("containerd/root"),
        state = layout.at("containerd/state"),
        temp = layout.at("containerd/temp"),
        socket = layout.containerd_socket(),
        shims = layout.at("run/s"),
        opt = layout.at("containerd/opt"),
        runc = layout.at("run/runc"),
        bin = layout.bin(),
        cni = layout.at("cni/net.d"),
        pause = images::PAUSE,
        certs = layout.at("containerd/certs.d"),
    )
}

/// Every pod has a veth pair of its own and is routed. Without a bridge, no answer bypasses the address translation of
/// Services. The cluster's own chain masquerades what leaves the machine.
fn pod_network(site: &Site) -> String {
    let content = json!({
        "cniVersion": "1.0.0",
        "name": POD_NETWORK,
        "plugins": [
            {
                "type": "ptp",
                "mtu": site.mtu,
                "ipam": {
                    "type": "host-local",
                    "dataDir": site.layout.at("cni/addresses"),
                    "ranges": [[{"subnet": site.network.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{content:#}\n")
}

fn registry_host(site: &Site) -> String {
    let url = format!("https://{}", site.network.registry());
    format!(
        r#"server = "{url}"

[host."{url}"]
  capabilities = ["pull", "resolve"]
  ca = "{ca}"
  [host."{url}".header]
    Authorization = "{account}"
"#,
        ca = site.layout.cert("ca"),
        account = basic(PULL_ACCOUNT, &site.accounts.pull_password),
    )
}
