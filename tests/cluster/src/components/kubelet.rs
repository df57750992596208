//! The kubelet. Its clients need a certificate or a token that the API server knows, and the API server decides what
//! they may do.

use serde_json::json;

use super::{Component, Site, apiserver, program};
use crate::cgroups;
use crate::files::File;
use crate::network::{DNS_DOMAIN, NODE_NAME};
use crate::probes::Probe;

pub fn component(site: &Site) -> Component {
    let (layout, network) = (&site.layout, site.network);
    let config = layout.at("kubelet.json");
    let content = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node(),
        "healthzBindAddress": network.node(),
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.cert("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.cert("kubelet-server"),
        "tlsPrivateKeyFile": layout.key("kubelet-server"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket()),
        "clusterDNS": [network.dns_service()],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": site.resolv_conf,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroups::PODS),
        "failCgroupV1": false,
        "failSwapOn": false,
        // A lower score needs a capability that containers and small machines often lack.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "podLogsDir": layout.at("logs/pods"),
        "volumePluginDir": layout.at("kubelet/volume-plugins"),
        "maxPods": 200,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        // Do not evict tests because the machine's disk is nearly full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    });
    let flags = [
        format!("--config={config}"),
        format!("--kubeconfig={}", layout.kubeconfig("kubelet")),
        format!("--root-dir={}", layout.at("kubelet")),
        format!("--cert-dir={}", layout.at("kubelet/pki")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={}", network.node()),
    ];
    Component {
        program: program(site, "kubelet", &flags),
        files: vec![File::public(config, format!("{content:#}\n"))],
        probe: Probe::Node(apiserver::ask(site, &format!("/api/v1/nodes/{NODE_NAME}"))),
    }
}
