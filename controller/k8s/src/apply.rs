//! Desired object → API server, if the live object differs from it.
//!
//! Server-side apply with force; each controller has a field manager of its own. An apply that changes nothing is still
//! a request, so the live object is compared first. The annotation [`APPLIED`] holds a hash of what was applied last;
//! it differs when a field is no longer wanted. An apply overwrites neither an object that belongs to somebody else,
//! nor a number of replicas that somebody set after the live object was read. An apply removes only fields that its own
//! manager owns, and cannot change who owns a field. So a separate write takes over the fields that somebody set on our
//! objects with kubectl, and the next apply removes them.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    core::ObjectMeta,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use slipway_base::error::{Class, Classify};

use crate::{
    FieldManager, answer, by_hand,
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

fn without_times(mut status: Value) -> Value {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if let Value::Object(condition) = condition {
            condition.remove("lastTransitionTime");
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::{APPLIED, ApplyError, apply_if_changed, patch, patch_status, without_times};
    use slipway_base::error::{Class, Classify as _};

    use crate::FieldManager;
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
    use kube::{Api, ResourceExt as _};
    use serde_json::{Value, json};
    use slipway_crds::v1alpha1::{App, AppSpec, AppStatus};
    use slipway_support::fake_api::Fake;

    fn object(value: Value) -> ConfigMap {
        serde_json::from_value(value).unwrap()
    }

    fn applied(desired: &ConfigMap) -> ConfigMap {
        let mut live = patch(desired, None).unwrap().unwrap();
        live["metadata"]["uid"] = json!("u");
        object(live)
    }

    #[test]
    fn what_was_applied_is_not_applied_again() {
        let desired = object(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}));
        let live = applied(&desired);
        assert!(
            live.metadata
                .annotations
                .as_ref()
                .unwrap()
                .contains_key(APPLIED)
        );
        assert_eq!(patch(&desired, Some(&live)).unwrap(), None);
    }

    #[test]
    fn an_edit_by_hand_is_put_back_on_that_very_object() {
        let desired = object(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
        let mut live = applied(&desired);
        live.data.as_mut().unwrap().insert("x".into(), "9".into());
        let body = patch(&desired, Some(&live)).unwrap().unwrap();
        assert_eq!(
            (&body["data"]["x"], &body["metadata"]["uid"]),
            (&json!("1"), &json!("u"))
        );
    }

    #[test]
    fn a_field_that_is_no_longer_wanted_is_noticed() {
        let before = object(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}));
        let after = object(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
        assert!(patch(&after, Some(&applied(&before))).unwrap().is_some());
    }

    #[tokio::test]
    async fn what_was_set_by_hand_is_taken_over_in_two_writes_and_left_alone_then() {
        let path = "/apis/apps/v1/namespaces/team/deployments/a";
        let fake = Fake::default();
        let api: Api<Deployment> = Api::namespaced(fake.client(), "team");
        let desired: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "a", "ownerReferences": [
                {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": "1", "controller": true},
            ]},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
        }))
        .unwrap();
        let mut live = patch(&desired, None).unwrap().unwrap();
        let entry = |manager: &str, operation: &str, spec: &Value| {
            json!({"manager": manager, "operation": operation,
            "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec}})
        };
        live["metadata"]["managedFields"] = json!([
            entry("slipway/release", "Apply", &json!({"f:replicas": {}})),
            entry("kubectl-rollout", "Update", &json!({"f:paused": {}})),
        ]);
        fake.put(path, live);
        for writes in [2, 0] {
            let live = api.get("a").await.unwrap();
            let before = fake.writes().len();
            let applied = apply_if_changed(&api, FieldManager::Release, &desired, Some(&live))
                .await
                .unwrap();
            assert_eq!(fake.writes().len() - before, writes);
            assert_eq!(applied.wrote, writes > 0);
            assert_eq!(
                serde_json::to_value(applied.object.managed_fields()).unwrap(),
                json!([entry(
                    "slipway/release",
                    "Apply",
                    &json!({"f:replicas": {}, "f:paused": {}})
                )])
            );
            assert!(applied.object.annotations().contains_key(APPLIED));
        }
    }

    #[tokio::test]
    async fn a_number_of_replicas_is_not_written_over_one_that_was_not_seen() {
        let path = "/apis/apps/v1/namespaces/team/deployments/a";
        let fake = Fake::default();
        let api: Api<Deployment> = Api::namespaced(fake.client(), "team");
        let deployment = |replicas: Option<i32>| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"name": "a", "ownerReferences": [
                    {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": "1", "controller": true},
                ]},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
            }))
            .unwrap()
        };
        let put = |replicas| fake.put(path, serde_json::to_value(deployment(replicas)).unwrap());
        for (desired, conflicts) in [(Some(2), true), (None, false)] {
            put(Some(1));
            let seen = api.get("a").await.unwrap();
            put(Some(5));
            let desired = deployment(desired);
            let applied =
                apply_if_changed(&api, FieldManager::Release, &desired, Some(&seen)).await;
            assert_eq!(applied.is_err(), conflicts, "{applied:?}");
            if let Err(error) = applied {
                assert!(matches!(error.class(), Class::Waiting { .. }), "{error}");
            }
            assert_eq!(fake.object(path).unwrap()["spec"]["replicas"], json!(5));
        }
    }

    #[tokio::test]
    async fn a_late_status_does_not_land_on_another_object_of_the_same_name() {
        let path = "/apis/slipway.dev/v1alpha1/namespaces/team/apps/hello";
        let fake = Fake::default();
        let mut app = App::new("hello", AppSpec::default());
        app.metadata.namespace = Some("team".into());
        app.metadata.uid = Some("u-2".into());
        fake.put(path, serde_json::to_value(&app).unwrap());
        let api: Api<App> = Api::namespaced(fake.client(), "team");
        let status = AppStatus {
            url: Some("http://hello".into()),
            ..AppStatus::default()
        };
        let of = async |uid: &str| {
            let mut app = app.clone();
            app.metadata.uid = Some(uid.into());
            patch_status(&api, FieldManager::App, &app, &status, None).await
        };
        let error = of("u-1").await.unwrap_err();
        assert!(matches!(error, ApplyError::Api { .. }), "{error}");
        assert!(matches!(error.class(), Class::Waiting { .. }), "{error}");
        assert!(of("u-2").await.unwrap());
    }

    #[test]
    fn times_alone_are_no_news() {
        let at = |time: &str, status: &str| {
            without_times(
                json!({"phase": "x", "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": time}]}),
            )
        };
        assert_eq!(at("1", "True"), at("2", "True"));
        assert_ne!(at("1", "True"), at("1", "False"));
    }
}
