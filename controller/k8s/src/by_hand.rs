//! Fields that somebody set with kubectl → fields of our manager. Pure.
//!
//! An apply removes a field only if its manager owns the field and nobody else does. So what was added by hand (a
//! variable, a sidecar, `paused`) would stay for ever. Therefore these fields are moved into our entry of
//! `managedFields`, and the next apply, which does not set them, removes them. Fields that other controllers set, such
//! as an autoscaler, stay theirs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value, json};

use crate::FieldManager;

const SPEC: &str = "f:spec";
/// The field that `kubectl rollout restart` sets. It asks for new pods and nothing else, and may stay.
const RESTARTED: [&str; 4] = [
    "f:template",
    "f:metadata",
    "f:annotations",
    "f:kubectl.kubernetes.io/restartedAt",
];

/// `entries`, with all fields of the spec that were set by hand moved into the entry of `manager`; `None` if there are
/// no such fields, or no such entry.
pub(crate) fn taken_over(
    entries: &[ManagedFieldsEntry],
    manager: FieldManager,
) -> Option<Vec<ManagedFieldsEntry>> {
    let mut entries = entries.to_vec();
    let version = entries
        .iter()
        .find(|entry| is_ours(entry, manager))?
        .api_version
        .clone();
    let taken: Vec<Value> = entries
        .iter_mut()
        .filter(|entry| is_by_hand(entry) && entry.api_version == version)
        .filter_map(|entry| take(entry.fields_v1.as_mut()?.0.as_object_mut()?))
        .collect();
    if taken.is_empty() {
        return None;
    }
    let ours = entries.iter_mut().find(|entry| is_ours(entry, manager))?;
    let FieldsV1(fields) = ours
        .fields_v1
        .get_or_insert_with(|| FieldsV1(Value::Object(Map::new())));
    for spec in taken {
        merge(fields, json!({SPEC: spec}));
    }
    entries.retain(|entry| entry.fields_v1.as_ref() != Some(&FieldsV1(json!({}))));
    Some(entries)
}

/// Whether an entry lists the fields that `manager` has applied.
pub(crate) fn is_ours(entry: &ManagedFieldsEntry, manager: FieldManager) -> bool {
    entry.manager.as_deref() == Some(manager.as_str())
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.is_none()
}

/// `before-first-apply` is the API server's name for everybody who wrote before it recorded managers.
fn is_by_hand(entry: &ManagedFieldsEntry) -> bool {
    let by = entry.manager.as_deref().unwrap_or_default();
    (by.starts_with("kubectl") || by == "before-first-apply") && entry.subresource.is_none()
}

/// Removes the spec, except what may stay, from somebody's fields. Returns what it removed.
fn take(fields: &mut Map<String, Value>) -> Option<Value> {
    let mut spec = fields.get(SPEC)?.clone();
    let restarted = remove(&mut spec, &RESTARTED);
    if is_empty(&spec) {
        return None;
    }
    if restarted {
        let leaf = RESTARTED
            .iter()
            .rev()
            .fold(json!({}), |inner, key| json!({*key: inner}));
        fields.insert(SPEC.to_owned(), leaf);
    } else {
        fields.remove(SPEC);
    }
    Some(spec)
}

/// Removes a field, and its parents if they are empty then. Returns whether the field existed.
fn remove(tree: &mut Value, path: &[&str]) -> bool {
    let (Value::Object(map), [first, rest @ ..]) = (tree, path) else {
        return false;
    };
    if rest.is_empty() {
        return map.remove(*first).is_some();
    }
    let Some(inner) = map.get_mut(*first) else {
        return false;
    };
    let removed = remove(inner, rest);
    if removed && is_empty(inner) {
        map.remove(*first);
    }
    removed
}

/// Whether it has no field. The key `.` stands for the map itself.
fn is_empty(tree: &Value) -> bool {
    tree.as_object()
        .is_none_or(|map| map.keys().all(|key| key == "."))
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        for (key, value) in from {
            merge(into.entry(key).or_insert_with(|| json!({})), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::taken_over;
    use crate::FieldManager;
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
}
