//! A Deployment's `managedFields` → who owns its number of replicas. Pure.
//!
//! A client that scales through the scale subresource (an autoscaler, `kubectl scale`) is the only owner of the number,
//! until somebody writes another one. An apply that leaves the number out then changes nothing. But if we alone own the
//! number, such an apply sets it to one, the API server's default.
//!
//! A client that scales to zero leaves no entry in `managedFields`: a Scale leaves zero out, and the API server takes a
//! field that is left out for a removed one, which has no owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::{FieldManager, by_hand};

/// Whether somebody else has set the number through the scale subresource, even if the API server recorded no name. If
/// nobody owns the number, somebody scaled to zero: whoever writes a number into a Deployment owns it.
pub fn is_anothers(entries: &[ManagedFieldsEntry]) -> bool {
    scaler(entries).is_some() || (!entries.is_empty() && !entries.iter().any(has_number))
}

/// The manager that has set the number through the scale subresource; the last one, if there are several.
pub fn scaler(entries: &[ManagedFieldsEntry]) -> Option<&str> {
    entries
        .iter()
        .filter(|entry| entry.subresource.as_deref() == Some("scale") && has_number(entry))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .map(|entry| entry.manager.as_deref().unwrap_or("somebody"))
}

/// Whether `manager` has applied the number, and nobody has written another one since.
pub fn is_ours(entries: &[ManagedFieldsEntry], manager: FieldManager) -> bool {
    entries
        .iter()
        .any(|entry| by_hand::is_ours(entry, manager) && has_number(entry))
}

pub(super) fn has_number(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref();
    fields.is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
}

#[cfg(test)]
mod tests {
    use super::{is_anothers, is_ours, scaler};
    use crate::FieldManager;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use serde_json::json;

    fn entry(manager: &str, subresource: Option<&str>, second: i32) -> ManagedFieldsEntry {
        let operation = if subresource.is_none() {
            "Apply"
        } else {
            "Update"
        };
        serde_json::from_value(json!({
            "manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
            "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }))
        .unwrap()
    }

    #[test]
    fn who_scales_is_who_wrote_through_the_scale_subresource() {
        let ours = || entry("slipway/release", None, 0);
        let keda = || entry("keda", Some("scale"), 1);
        let kubectl = || entry("kubectl", Some("scale"), 2);
        let edited = || entry("kubectl-edit", None, 3);
        // The same manager without the number: somebody scaled to zero and left no entry.
        let template = || {
            let mut entry = ours();
            entry.fields_v1.as_mut().unwrap().0 = json!({"f:spec": {"f:template": {}}});
            entry
        };
        for (entries, scales, is_another, is_his) in [
            // The API server recorded no managers.
            (vec![], None, false, false),
            (vec![ours(), template()], None, false, true),
            (vec![edited(), template()], None, false, false),
            (vec![keda(), template()], Some("keda"), true, false),
            // Both wrote the same number.
            (vec![ours(), keda()], Some("keda"), true, true),
            (vec![kubectl(), keda()], Some("kubectl"), true, false),
            (vec![keda(), kubectl()], Some("kubectl"), true, false),
            (vec![template()], None, true, false),
        ] {
            assert_eq!(scaler(&entries), scales);
            assert_eq!(is_anothers(&entries), is_another, "{entries:?}");
            assert_eq!(is_ours(&entries, FieldManager::Release), is_his);
        }
    }
}
