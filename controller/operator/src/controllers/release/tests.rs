//! The controller's parts that read and write.

mod api;
mod blocked;
mod kinds;
mod observe;

use jiff::Timestamp;
use serde_json::json;
use slipway_crds::v1alpha1::Release;

fn release() -> Release {
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "hello-v2", "namespace": "team", "generation": 1},
        "spec": {
            "app": {"name": "hello", "uid": "app"}, "number": 2, "cause": "new commit", "inputs": "i", "renderer": 1,
            "revision": "hello-r", "revisionId": "1f2e3d4c5b6a", "image": {"reference": "r@sha256:a"},
            "configSecret": "s", "port": 5000, "deadlines": {"deploy": "5m"}, "podSecurity": "Restricted",
            "processes": {
                "web": {"replicas": 2, "checks": [
                    {"type": "startup", "path": "/up", "scheme": "http", "port": 5000},
                    {"type": "readiness", "listening": true, "port": 5000},
                ]},
            },
        },
    }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}
