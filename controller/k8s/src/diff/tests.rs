//! Desired and live objects, and where they differ.

use crate::diff::{first_difference, hash};
use serde_json::{Value, json};

fn deployment(container: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {"x": "1"}},
            "spec": {"template": {"spec": {"containers": [container]}}}})
}

#[test]
fn the_fields_of_others_and_defaults_are_no_difference() {
    let desired = deployment(&json!({
        "name": "web", "image": "i", "args": ["a", "b"], "env": [], "ports": [{"containerPort": 5000}],
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {}},
        "volumeMounts": [{"name": "v", "mountPath": "/data"}],
    }));
    let live = json!({"metadata": {"name": "a", "labels": {"x": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"replicas": 1, "template": {"spec": {"dnsPolicy": "ClusterFirst", "containers": [
                {"name": "sidecar", "image": "s"},
                {"name": "web", "image": "i", "args": ["a", "b"], "imagePullPolicy": "Always",
                 "ports": [{"containerPort": 5000, "protocol": "TCP"}],
                 "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                 "volumeMounts": [{"name": "injected", "mountPath": "/i"}, {"name": "v", "mountPath": "/data"}]},
            ]}}}, "status": {"x": 1}});
    assert_eq!(first_difference(&desired, &live), None);
}

#[test]
fn every_change_by_hand_is_found_and_named() {
    let desired = deployment(&json!({
        "name": "web", "image": "i", "args": ["a"], "env": [{"name": "A", "value": "1000m"}],
        "resources": {"limits": {"cpu": "1"}}, "securityContext": {"privileged": false},
        "ports": [{"containerPort": 5000}],
    }));
    let place = |pointer: &str, value: Value| {
        let mut live = desired.clone();
        *live.pointer_mut(pointer).unwrap() = value;
        first_difference(&desired, &live)
    };
    let container = "/spec/template/spec/containers/0";
    for (pointer, value, wanted) in [
        ("/image", json!("j"), ".image"),
        ("/args", json!(["a", "b"]), ".args"),
        ("/args/0", json!("b"), ".args[0]"),
        ("/env/0/value", json!("1"), ".env[\"A\"].value"),
        ("/env", json!([]), ".env[\"A\"]"),
        ("/resources/limits/cpu", json!("2"), ".resources.limits.cpu"),
        ("/securityContext", json!({}), ".securityContext.privileged"),
        ("/securityContext", Value::Null, ".securityContext"),
        ("/ports/0/containerPort", json!(1), ".ports[5000]"),
    ] {
        assert_eq!(
            place(&format!("{container}{pointer}"), value),
            Some(format!(".spec.template.spec.containers[\"web\"]{wanted}"))
        );
    }
    assert_eq!(
        place("/metadata/labels/x", json!("2")),
        Some(".metadata.labels.x".to_owned())
    );
    // A selector with one more key is another selector.
    for (wanted, path) in [
        (json!({"selector": {"a": "1"}}), "/selector"),
        (
            json!({"selector": {"matchLabels": {"a": "1"}}}),
            "/selector/matchLabels",
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "k", "labelSelector": {"matchLabels": {"a": "1"}}}]}),
            "/topologySpreadConstraints/0/labelSelector/matchLabels",
        ),
    ] {
        let wanted = json!({"spec": wanted});
        let mut live = wanted.clone();
        assert_eq!(first_difference(&wanted, &live), None);
        live["spec"].pointer_mut(path).unwrap()["canary"] = json!("no");
        assert!(first_difference(&wanted, &live).is_some(), "{path}");
    }
}

#[test]
fn an_empty_volume_is_not_the_same_as_none() {
    let desired = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let live = json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}});
    assert_eq!(
        first_difference(&desired, &live),
        Some(".spec.volumes[\"v\"].emptyDir".to_owned())
    );
}

#[test]
fn service_ports_and_int_or_string_compare_by_value() {
    let desired = json!({"spec": {"ports": [{"port": 80, "targetPort": "5000"}]}});
    let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 5000, "nodePort": 3}]}});
    assert_eq!(first_difference(&desired, &live), None);
    let other = json!({"spec": {"ports": [{"port": 80, "protocol": "UDP", "targetPort": 5000}]}});
    assert!(first_difference(&desired, &other).is_some());
}

#[test]
fn the_hash_knows_content_and_no_order() {
    let a: Value = serde_json::from_str(r#"{"a": {"x": 1, "y": [1, 2]}, "b": "q"}"#).unwrap();
    let b: Value = serde_json::from_str(r#"{"b": "q", "a": {"y": [1, 2], "x": 1}}"#).unwrap();
    assert_eq!(hash(&a), hash(&b));
    assert_ne!(
        hash(&a),
        hash(&json!({"a": {"x": 1, "y": [2, 1]}, "b": "q"}))
    );
    assert_ne!(hash(&json!({"a": "1"})), hash(&json!({"a": 1})));
}
