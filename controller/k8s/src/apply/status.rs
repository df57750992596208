//! A status → API server, if it differs from the live one.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::ObjectMeta,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{FieldManager, answer, apply::ApplyError};

/// Applies `status`, if it differs from `live` in more than the times of conditions. Returns whether it was written.
pub async fn patch_status<K, S>(
    api: &Api<K>,
    manager: FieldManager,
    object: &K,
    status: &S,
    live: Option<&S>,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
    S: Serialize,
{
    let written = write_status(api, manager, object, status, live, None).await?;
    Ok(written.is_some())
}

/// Like [`patch_status`], for an object from a cache: the API server refuses the write if the object has changed since.
/// Returns the object's metadata if the status was written.
pub async fn patch_status_as_seen<K, S>(
    api: &Api<K>,
    manager: FieldManager,
    object: &K,
    status: &S,
    live: Option<&S>,
) -> Result<Option<ObjectMeta>, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
    S: Serialize,
{
    let seen = object.resource_version();
    write_status(api, manager, object, status, live, seen).await
}

async fn write_status<K, S>(
    api: &Api<K>,
    manager: FieldManager,
    object: &K,
    status: &S,
    live: Option<&S>,
    seen: Option<String>,
) -> Result<Option<ObjectMeta>, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
    S: Serialize,
{
    let wanted = serde_json::to_value(status).map_err(ApplyError::Encode)?;
    let live = serde_json::to_value(live).map_err(ApplyError::Encode)?;
    if without_times(wanted.clone()) == without_times(live) {
        return Ok(None);
    }
    let name = object.name_any();
    // Only the object that was read: a newer one of the same name has a status of its own.
    let mut metadata = json!({"name": name, "uid": object.uid()});
    if let (Value::Object(metadata), Some(seen)) = (&mut metadata, seen) {
        // If `None`, the key is left out: the API server treats null as a missing version.
        metadata.insert("resourceVersion".to_owned(), seen.into());
    }
    let body = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": wanted, "metadata": metadata,
    });
    let params = PatchParams::apply(manager.as_str()).force();
    answer::patch(api, Some("status"), &name, &params, &Patch::Apply(&body))
        .await
        .map(Some)
        .map_err(|source| ApplyError::Api {
            kind: format!("status of {}", K::kind(&())),
            name: name.clone(),
            source: Box::new(source),
        })
}

pub(super) fn without_times(mut status: Value) -> Value {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Value::Object(condition) = condition {
            condition.remove("lastTransitionTime");
        }
    }
    status
}
