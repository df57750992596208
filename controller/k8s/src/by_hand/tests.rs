//! Fields that somebody has set by hand, and whose they are afterwards.

use crate::FieldManager;
use crate::by_hand::taken_over;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};

fn entry(manager: &str, operation: &str, fields: &Value) -> ManagedFieldsEntry {
    serde_json::from_value(json!({
            "manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }))
        .unwrap()
}

fn ours(spec: &Value) -> ManagedFieldsEntry {
    entry(
        "slipway/release",
        "Apply",
        &json!({"f:metadata": {"f:labels": {"f:x": {}}}, "f:spec": spec}),
    )
}

fn update(manager: &str, fields: &Value) -> ManagedFieldsEntry {
    entry(manager, "Update", fields)
}

fn after(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    taken_over(entries, FieldManager::Release)
}

#[test]
fn what_kubectl_set_in_the_spec_becomes_ours_once() {
    let of_web = |web: &Value| json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": web}}}});
    let theirs = json!({"f:metadata": {"f:annotations": {"f:note": {}}}});
    let taken = after(&[
            ours(&of_web(&json!({".": {}, "f:image": {}}))),
            update("kubectl-rollout", &json!({"f:spec": {"f:paused": {}}})),
            update(
                "kubectl-edit",
                &json!({
                    "f:metadata": theirs["f:metadata"],
                    "f:spec": of_web(&json!({"f:env": {"k:{\"name\":\"DEBUG\"}": {".": {}, "f:name": {}, "f:value": {}}}})),
                }),
            ),
            entry("kubectl", "Apply", &json!({"f:spec": {"f:minReadySeconds": {}}})),
        ])
        .unwrap();
    let mut all = of_web(&json!({
        ".": {}, "f:image": {},
        "f:env": {"k:{\"name\":\"DEBUG\"}": {".": {}, "f:name": {}, "f:value": {}}},
    }));
    all["f:paused"] = json!({});
    all["f:minReadySeconds"] = json!({});
    assert_eq!(taken, [ours(&all), update("kubectl-edit", &theirs)]);
    assert_eq!(after(&taken), None);
}

#[test]
fn a_restart_that_was_asked_for_stays() {
    let restarted = json!({"f:template": {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}});
    let alone = [
        ours(&json!({"f:replicas": {}})),
        update("kubectl-rollout", &json!({"f:spec": restarted})),
    ];
    assert_eq!(after(&alone), None);
    let mut paused = restarted.clone();
    paused["f:paused"] = json!({});
    let taken = after(&[
        ours(&json!({"f:replicas": {}})),
        update("kubectl-rollout", &json!({"f:spec": paused})),
    ])
    .unwrap();
    assert_eq!(
        taken[0],
        ours(&json!({"f:replicas": {}, "f:paused": {}})),
        "the restart is not ours"
    );
    let left = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}});
    assert_eq!(taken[1..], [update("kubectl-rollout", &left)]);
    assert_eq!(after(&taken), None);
}

#[test]
fn what_others_set_is_theirs() {
    let spec = json!({"f:spec": {"f:replicas": {}}});
    let mut scaled = update("kubectl", &spec);
    scaled.subresource = Some("scale".to_owned());
    let mut other_version = update("kubectl-edit", &spec);
    other_version.api_version = Some("apps/v2".to_owned());
    let theirs = [
        scaled,
        other_version,
        update("kube-controller-manager", &spec),
        update(
            "kubectl-annotate",
            &json!({"f:metadata": {"f:annotations": {"f:note": {}}}}),
        ),
    ];
    let mut entries = theirs.to_vec();
    entries.push(ours(&json!({"f:replicas": {}})));
    assert_eq!(after(&entries), None);
    // The manager has applied nothing yet.
    assert_eq!(after(&[update("kubectl-edit", &spec)]), None);
}
