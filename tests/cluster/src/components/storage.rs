//! local-path-provisioner: each claim is a folder below the state folder, which a helper pod makes and removes.

use serde_json::json;

use super::{Component, Site, program};
use crate::files::File;
use crate::images::BUSYBOX;
use crate::probes::Probe;

pub const NAMESPACE: &str = "local-path-storage";

pub fn component(site: &Site) -> Component {
    let layout = &site.layout;
    let (config, helper) = (
        layout.at("storage/config.json"),
        layout.at("storage/helper-pod.yaml"),
    );
    let content = json!({
        "nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [layout.at("volumes")]}],
        "setupCommand": "/bin/volume-setup",
        "teardownCommand": "/bin/volume-teardown",
    });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {"containers": [{"name": "helper-pod", "image": BUSYBOX, "imagePullPolicy": "Never"}]},
    });
    let flags = [
        "start".to_owned(),
        format!("--config={config}"),
        format!("--kubeconfig={}", layout.kubeconfig("storage")),
        format!("--namespace={NAMESPACE}"),
        format!("--helper-image={BUSYBOX}"),
        format!("--helper-pod-file={helper}"),
        "--service-account-name=default".to_owned(),
    ];
    Component {
        program: program(site, "local-path-provisioner", &flags),
        files: vec![
            File::public(config, format!("{content:#}\n")),
            File::public(helper, format!("{pod:#}\n")),
        ],
        probe: Probe::Process,
    }
}
