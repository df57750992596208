//! Desired object → API server, if the live object differs from it.
//!
//! Server-side apply with force; each controller has a field manager of its own. An apply that changes nothing is still
//! a request, so the live object is compared first. The annotation [`APPLIED`] holds a hash of what was applied last;
//! it differs when a field is no longer wanted. An apply overwrites neither an object that belongs to somebody else,
//! nor a number of replicas that somebody set after the live object was read. An apply removes only fields that its own
//! manager owns, and cannot change who owns a field. So a separate write takes over the fields that somebody set on our
//! objects with kubectl, and the next apply removes them.

pub mod status;

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use slipway_base::error::{Class, Classify};

use crate::{
    FieldManager, by_hand,
    classify::{self, said},
    diff::{first_difference, hash},
    ownership::{self, NameTaken},
};

/// Annotation: hash of what was applied last.
pub const APPLIED: &str = "slipway.dev/applied";

/// Delay after a conflict: the object has been changed or replaced since it was read.
const CONFLICT: Duration = Duration::from_secs(1);

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It belongs to somebody else.
    #[error(transparent)]
    NameTaken(#[from] NameTaken),
    /// The API server refused, or did not answer.
    #[error("cannot write {kind} {name}: {}", said(.source))]
    Api {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// It cannot be written as JSON.
    #[error("cannot encode an object: {0}")]
    Encode(serde_json::Error),
}

impl Classify for ApplyError {
    fn class(&self) -> Class {
        match self {
            Self::NameTaken(_) | Self::Encode(_) => Class::Stalled,
            // Somebody else wrote or replaced the object: the next try reads it.
            Self::Api { source, .. } if classify::is_conflict(source) => {
                Class::Waiting { after: CONFLICT }
            }
            Self::Api { source, .. } => classify::class(source),
        }
    }
}

/// An object as it is after apply.
#[derive(Clone, Debug)]
pub struct Applied<K> {
    /// The live object.
    pub object: K,
    /// Whether anything was written.
    pub wrote: bool,
}

/// Makes the live object match `desired`. `live` is the object as just read; `None` if it does not exist.
pub async fn apply_if_changed<K>(
    api: &Api<K>,
    manager: FieldManager,
    desired: &K,
    live: Option<&K>,
) -> Result<Applied<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    if let Some(live) = live {
        ownership::check(desired, live)?;
    }
    let applied = send(api, manager, desired, live).await?;
    // The apply has taken back the fields that it sets. Fields that it does not set still belong to whoever set them.
    let Some(taken) = take_over(api, manager, &applied.object).await? else {
        return Ok(applied);
    };
    let Applied { object, .. } = send(api, manager, desired, Some(&taken)).await?;
    Ok(Applied {
        object,
        wrote: true,
    })
}

/// One apply, if there is anything to change.
async fn send<K>(
    api: &Api<K>,
    manager: FieldManager,
    desired: &K,
    live: Option<&K>,
) -> Result<Applied<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let Some(body) = patch(desired, live).map_err(ApplyError::Encode)? else {
        return Ok(Applied {
            object: live.unwrap_or(desired).clone(),
            wrote: false,
        });
    };
    let params = PatchParams {
        // Without force, the apply conflicts with an object that somebody else creates at this moment, and does not
        // overwrite it.
        force: live.is_some(),
        field_manager: Some(manager.as_str().to_owned()),
        ..PatchParams::default()
    };
    let name = desired.name_any();
    let patch = Patch::Apply(&body);
    let refused = |source| refused(desired, source);
    // The whole object is read back: it has the values that the API server fills in, such as a Service's node port.
    let object = api.patch(&name, &params, &patch).await.map_err(refused)?;
    let changed = live.is_none_or(|live| live.resource_version() != object.resource_version());
    if !changed {
        tracing::warn!(
            kind = %K::kind(&()), %name, field = %first_difference(&body, &serde_json::to_value(live).unwrap_or_default()).unwrap_or_default(),
            "an apply changed nothing: the comparison does not know how the server writes this field"
        );
    }
    Ok(Applied {
        object,
        wrote: changed,
    })
}

/// Takes over the fields that were set by hand. Returns the object after the write, or `None` if there were no such
/// fields. The write also removes [`APPLIED`], so that the apply that removes those fields follows even if this process
/// ends before it.
async fn take_over<K>(
    api: &Api<K>,
    manager: FieldManager,
    live: &K,
) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    // No field can be removed from a claim's spec, and the volume that somebody bound it to by hand is wanted.
    if K::kind(&()) == "PersistentVolumeClaim" {
        return Ok(None);
    }
    let Some(entries) = by_hand::taken_over(live.managed_fields(), manager) else {
        return Ok(None);
    };
    let body = json!({"metadata": {
        "resourceVersion": live.resource_version(),
        "annotations": {APPLIED: null},
        "managedFields": entries,
    }});
    let params = PatchParams {
        field_manager: Some(manager.as_str().to_owned()),
        ..PatchParams::default()
    };
    let object = api
        .patch(&live.name_any(), &params, &Patch::Merge(&body))
        .await
        .map_err(|source| refused(live, source))?;
    Ok(Some(object))
}

fn refused<K: Resource<DynamicType = ()>>(object: &K, source: kube::Error) -> ApplyError {
    ApplyError::Api {
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        source: Box::new(source),
    }
}

/// The body of the apply; `None` if nothing has to change.
fn patch<K>(desired: &K, live: Option<&K>) -> Result<Option<Value>, serde_json::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let mut body = serde_json::to_value(desired)?;
    if let Value::Object(map) = &mut body {
        map.insert("apiVersion".to_owned(), K::api_version(&()).into());
        map.insert("kind".to_owned(), K::kind(&()).into());
        map.remove("status");
    }
    let hash = hash(&body);
    if let Some(live) = live {
        let applied = live
            .meta()
            .annotations
            .as_ref()
            .and_then(|a| a.get(APPLIED));
        let current = serde_json::to_value(live)?;
        if applied == Some(&hash) && first_difference(&body, &current).is_none() {
            return Ok(None);
        }
    }
    let scales = body.pointer("/spec/replicas").is_some();
    if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
        // Only the object that was read, not a newer one of the same name.
        if let Some(uid) = live.and_then(kube::ResourceExt::uid) {
            metadata.insert("uid".to_owned(), uid.into());
        }
        // And only the version that was read: an autoscaler may scale it at this moment.
        if let Some(version) = live.and_then(kube::ResourceExt::resource_version)
            && scales
        {
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        if let Value::Object(annotations) =
            metadata.entry("annotations").or_insert_with(|| json!({}))
        {
            annotations.insert(APPLIED.to_owned(), hash.into());
        }
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests;
