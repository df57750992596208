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
mod tests;
