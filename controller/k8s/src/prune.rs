//! Objects of an App that are no longer wanted → deletions.
//!
//! An object that cannot be deleted now is found again the next time, by its labels.

use std::{collections::BTreeSet, fmt::Debug};

use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};
use serde::de::DeserializeOwned;

use crate::{classify, ownership};

/// Those of `existing` that this App's UID controls, that are not `wanted`, and that are not being deleted already.
/// Pure.
pub fn orphans<'a, K: Resource>(
    existing: &'a [K],
    app_uid: &str,
    wanted: &BTreeSet<String>,
) -> Vec<&'a K> {
    existing
        .iter()
        .filter(|object| ownership::owned_by(*object, app_uid))
        .filter(|object| object.meta().deletion_timestamp.is_none())
        .filter(|object| {
            object
                .meta()
                .name
                .as_ref()
                .is_some_and(|name| !wanted.contains(name))
        })
        .collect()
}

/// Deletes exactly this object, and in the background what it owns. Returns false if it no longer exists.
pub async fn delete<K>(api: &Api<K>, object: &K) -> Result<bool, kube::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(true),
        Err(error) if classify::is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::orphans;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn only_what_we_control_and_nobody_wants_goes() {
        let service = |name: &str, uid: &str, deleted: Option<&str>| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name, "deletionTimestamp": deleted, "ownerReferences": [
                {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": uid, "controller": true}
            ]}}))
            .unwrap()
        };
        let existing = [
            service("wanted", "1", None),
            service("orphan", "1", None),
            service("theirs", "2", None),
            service("going", "1", Some("2026-01-01T00:00:00Z")),
        ];
        let names: Vec<_> = orphans(&existing, "1", &BTreeSet::from(["wanted".to_owned()]))
            .into_iter()
            .map(|s| s.metadata.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["orphan"]);
    }
}
