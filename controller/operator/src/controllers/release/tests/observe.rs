//! What exists, and what of a config may be shown.

use crate::controllers::{
    caches::Caches,
    release::observe::{confidential, log, observe},
};
use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::core::Status;
use serde_json::{Value, json};
use slipway_core::{domain::repository::Repositories, judge::lines::Secrets};
use slipway_support::fake_api::Fake;
use std::cell::RefCell;

const GONE: &str = "unable to retrieve container logs for containerd://4f5e";

async fn asked(previous: bool, last: Option<&str>, present: Option<&str>) -> (String, String) {
    let order = RefCell::new(String::new());
    let ask = |previous: bool| {
        order.borrow_mut().push(if previous { 'l' } else { 'p' });
        let log = if previous { last } else { present };
        let none = || kube::Error::Api(Status::failure("none", "BadRequest").boxed());
        let log = log.map(str::to_owned).ok_or_else(none);
        std::future::ready(log).boxed()
    };
    let log = log(previous, ask).await.unwrap_or_else(|_| "error".into());
    (log, order.into_inner())
}

#[tokio::test]
async fn where_one_log_is_gone_the_other_is_asked_for() {
    for (previous, last, present, expected) in [
        (true, Some("why"), Some("new"), ("why", "l")),
        (true, Some(GONE), Some("new"), ("new", "lp")),
        (true, Some(""), Some("new"), ("new", "lp")),
        (true, None, Some("new"), ("new", "lp")),
        (false, Some("why"), Some(GONE), ("why", "pl")),
        (false, None, Some(GONE), ("", "pl")),
        (false, Some(GONE), Some(GONE), ("", "pl")),
        (false, None, None, ("error", "pl")),
    ] {
        let (log, order) = asked(previous, last, present).await;
        assert_eq!((log.as_str(), order.as_str()), expected);
    }
}

#[tokio::test]
async fn what_only_carries_the_label_is_not_kept_and_little_of_the_rest() {
    let fake = Fake::default();
    let big = "x".repeat(200_000);
    let object = |kind: &str, name: &str, owner: (&str, &str, &str)| {
        let (api, of, uid) = owner;
        let template = json!({"spec": {"containers": [{"name": "web", "args": [big]}]}});
        let object = json!({
            "metadata": {"name": name, "namespace": "team", "uid": name, "annotations": {"note": big},
                "labels": {"slipway.dev/app": "hello", "slipway.dev/app-uid": "u", "slipway.dev/process": "web"},
                "ownerReferences": [{"apiVersion": api, "kind": of, "name": "hello", "uid": uid, "controller": true}]},
            "spec": {"replicas": 1, "selector": {}, "template": template},
        });
        fake.put(
            &format!("/apis/apps/v1/namespaces/team/{kind}/{name}"),
            object,
        );
    };
    let ours = ("slipway.dev/v1alpha1", "App", "u");
    object("deployments", "hello-web", ours);
    object(
        "replicasets",
        "hello-web-1",
        ("apps/v1", "Deployment", "hello-web"),
    );
    for number in 0..20 {
        let name = format!("forged-{number}");
        object(
            "deployments",
            &name,
            ("slipway.dev/v1alpha1", "App", "other"),
        );
        object("replicasets", &name, ("apps/v1", "Deployment", "forged-0"));
    }
    let app = serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "namespace": "team", "uid": "u"},
        "spec": {"source": {"image": {"reference": "i"}}},
    }));
    let repositories = Repositories::new("slipway", []);
    let caches = Caches::default();
    caches.read(&fake.client()).await;
    let seen = observe(&fake.client(), &caches, &app.unwrap(), &repositories).await;
    let seen = seen.unwrap();
    let kept = format!("{seen:?}").len();
    assert!(kept < 16 * 1024, "{kept} bytes");
    assert_eq!(seen.objects.deployments.len(), 1);
    assert_eq!(seen.replica_sets.len(), 1);
    let number = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas);
    assert_eq!(number(&seen.replica_sets[0]), Some(1));
}

fn shown(open: Option<&str>, env: &Value) -> String {
    let app = serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello"},
        "spec": {"source": {"image": {"reference": "i"}}, "env": env},
    }));
    let mut config = json!({"metadata": {"name": "hello-config"},
        "data": {"LOG_LEVEL": "ZXJyb3I=", "TOKEN": "aHVudGVyMg=="}});
    if let Some(open) = open {
        config["metadata"]["annotations"] = json!({"slipway.dev/open-variables": open});
    }
    let config = serde_json::from_value(config).unwrap();
    let Secrets::Known(secrets) = confidential(&app.unwrap(), &config) else {
        return String::new();
    };
    secrets.redact("error: hunter2")
}

#[test]
fn only_what_came_from_a_secret_is_taken_out() {
    let none = json!([]);
    assert_eq!(shown(Some("LOG_LEVEL"), &none), "error: [redacted]");
    assert_eq!(shown(Some("LOG_LEVEL,TOKEN"), &none), "error: hunter2");
    // A config that was stored before open variables were recorded has none.
    assert_eq!(shown(None, &none), "[redacted]: [redacted]");
    let moved =
        json!([{"name": "LOG_LEVEL", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]);
    assert_eq!(shown(Some("LOG_LEVEL"), &moved), "[redacted]: [redacted]");
}
