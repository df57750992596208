//! Deployments, pods and Events as the API server shows them, for tests.

mod checks;
mod rollout;
mod serving;
mod status;
mod trouble;

use crate::judge::{
    lines::Secrets,
    rollout::{Verdict, evaluate},
    seen::Seen,
    trouble::Trouble,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::Release;

pub(crate) fn release() -> Release {
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

pub(crate) fn deployment(change: &Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"name": "hello-web", "uid": "d", "generation": 4, "labels": {"slipway.dev/process": "web"}},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3},
    });
    merge(&mut deployment, change);
    serde_json::from_value(deployment).unwrap()
}

pub(crate) fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

pub(crate) fn sets(old: i32, new: i32) -> Vec<ReplicaSet> {
    [("1", old), ("2", new)]
        .into_iter()
        .map(|(release, available)| {
            serde_json::from_value(json!({
                "metadata": {
                    "name": format!("hello-web-{release}"), "labels": {"slipway.dev/release": release},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-web", "uid": "d"}],
                },
                "spec": {"selector": {}},
                "status": {"replicas": available, "availableReplicas": available},
            }))
            .unwrap()
        })
        .collect()
}

pub(crate) fn pod(status: Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "hello-web-2-x", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"slipway.dev/process": "web", "slipway.dev/release": "2"},
        },
        "spec": {"containers": [{"name": "web", "image": "registry:5000/hello@sha256:a",
            "resources": {"limits": {"memory": "64Mi"}}}]},
    });
    pod["status"] = status;
    serde_json::from_value(pod).unwrap()
}

pub(crate) fn container(more: &Value) -> Value {
    let mut container =
        json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
    merge(&mut container, more);
    json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Ready", "status": "False"},
        ],
        "containerStatuses": [container],
    })
}

pub(crate) fn waiting(reason: &str, message: &str) -> Value {
    container(&json!({"state": {"waiting": {"reason": reason, "message": message}}}))
}

pub(crate) fn event(reason: &str, message: &str, second: i64) -> Event {
    let time = Timestamp::from_second(1_767_225_600 + second)
        .unwrap()
        .to_string();
    serde_json::from_value(json!({
        "metadata": {}, "type": "Warning", "reason": reason, "message": message,
        "involvedObject": {"kind": "Pod", "uid": "p", "fieldPath": "spec.containers{web}"},
        "firstTimestamp": time, "lastTimestamp": time,
    }))
    .unwrap()
}

/// The verdict on one pod that is not ready, `seconds` after the roll-out began.
pub(crate) fn after(seconds: i64, pods: &[Pod], events: &[Event]) -> Verdict {
    look(seconds, &deployment(&json!({})), &sets(2, 0), pods, events)
}

pub(crate) fn look(
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    let secrets = Secrets::of(["hunter22"]);
    look_with(&secrets, seconds, deployment, sets, pods, events)
}

pub(crate) fn look_with(
    secrets: &Secrets,
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    look_at(&release(), secrets, seconds, deployment, sets, pods, events)
}

pub(crate) fn look_at(
    release: &Release,
    secrets: &Secrets,
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    let began = Timestamp::from_second(1_767_225_600).unwrap();
    evaluate(Seen {
        secrets,
        release,
        deployments: std::slice::from_ref(deployment),
        replica_sets: sets,
        pods,
        slices: None,
        events,
        started_at: began,
        now: began + jiff::SignedDuration::from_secs(seconds),
    })
}

pub(crate) fn failed(verdict: Verdict) -> Trouble {
    match verdict {
        Verdict::Failed(trouble) => trouble,
        other => panic!("not failed: {other:?}"),
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}
