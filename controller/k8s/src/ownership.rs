//! Whether the operator may apply over an existing object. Pure.
//!
//! It may if the App's UID controls the object. Claims outlive their App on purpose; those without a controller are
//! recognised by their labels.

use kube::{Resource, ResourceExt as _};
use slipway_crds::labels;

/// An object of the wanted name belongs to somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {name} exists already and {owner}: delete or rename it, or give the App another name"
)]
pub struct NameTaken {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who owns it, as a part of a sentence.
    pub owner: String,
}

/// Whether the object with this UID controls `object`.
pub fn owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller(object).is_some_and(|(_, controller)| controller == uid)
}

/// Whether `desired` may be applied over `live`. `desired` names its App by controller reference or by label.
pub fn check<K: Resource<DynamicType = ()>>(desired: &K, live: &K) -> Result<(), NameTaken> {
    let wanted = controller(desired)
        .map(|(_, uid)| uid)
        .or_else(|| label(desired, labels::APP_UID));
    let ours = match (controller(live), wanted) {
        (Some((_, uid)), Some(wanted)) => uid == wanted,
        (None, _) => adoptable(desired, live),
        (Some(_), None) => false,
    };
    if ours {
        return Ok(());
    }
    Err(NameTaken {
        kind: K::kind(&()).into_owned(),
        name: live.name_any(),
        owner: controller(live).map_or_else(
            || "is not this App's".to_owned(),
            |(owner, _)| format!("belongs to {owner}"),
        ),
    })
}

fn adoptable<K: Resource<DynamicType = ()>>(desired: &K, live: &K) -> bool {
    let may = K::kind(&()) == "PersistentVolumeClaim"
        || (controller(desired).is_none() && label(desired, labels::APP).is_none());
    let same = |key| label(live, key) == label(desired, key);
    may && label(live, labels::MANAGED_BY) == Some(labels::SLIPWAY) && same(labels::APP)
}

fn label<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(key).map(String::as_str)
}

fn controller<K: Resource>(object: &K) -> Option<(String, &str)> {
    object
        .meta()
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| (format!("{} {}", owner.kind, owner.name), owner.uid.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{check, owned_by};
    use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
    use serde_json::{Value, json};

    fn owner(kind: &str, uid: &str) -> Value {
        json!([{"apiVersion": "v1", "kind": kind, "name": "x", "uid": uid, "controller": true}])
    }

    #[expect(clippy::needless_pass_by_value, reason = "table entries read better")]
    fn object<K: serde::de::DeserializeOwned>(owners: Value, labels: Value) -> K {
        serde_json::from_value(
            json!({"metadata": {"name": "hello", "ownerReferences": owners, "labels": labels}}),
        )
        .unwrap()
    }

    fn ours() -> Value {
        json!({"app.kubernetes.io/managed-by": "slipway", "slipway.dev/app": "hello", "slipway.dev/app-uid": "1"})
    }

    #[test]
    fn only_what_the_uid_controls_is_ours() {
        let desired: Service = object(owner("App", "1"), ours());
        assert!(owned_by(&desired, "1") && !owned_by(&desired, "2"));
        check(&desired, &desired.clone()).unwrap();
        for (live, said) in [
            (object::<Service>(json!([]), json!({})), "is not this App's"),
            (object(json!([]), ours()), "is not this App's"),
            (object(owner("App", "2"), ours()), "belongs to App x"),
            (object(owner("Helm", "3"), json!({})), "belongs to Helm x"),
        ] {
            assert_eq!(check(&desired, &live).unwrap_err().owner, said);
        }
    }

    #[test]
    fn a_claim_that_outlived_its_app_is_found_again_by_label() {
        let kept: PersistentVolumeClaim = object(json!([]), ours());
        let wanted: PersistentVolumeClaim = object(owner("App", "2"), ours());
        let foreign: PersistentVolumeClaim = object(json!([]), json!({}));
        check(&wanted, &kept).unwrap();
        check(&kept, &object(owner("App", "1"), ours())).unwrap();
        check(&kept, &foreign).unwrap_err();
        check(&kept, &object(owner("App", "9"), ours())).unwrap_err();
    }
}
