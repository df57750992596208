//! Records that are made once: the *create* of a name is the lock. Whoever comes second reads what is there.
//!
//! The name of a record with a number is the App's and that number. Two who make the next record at the same time try the
//! same name; one of them gets it, and the other takes the next number, unless what is there is what it wanted to make.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::PostParams,
    core::{DeserializeGuard, ObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{answer, classify};

/// A record that is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Made<K> {
    /// It was made; with the metadata that the API server gave it.
    Now(K, Box<ObjectMeta>),
    /// It was there before, as it is here.
    Before(K),
}

/// Why a record was not made.
#[derive(Debug, thiserror::Error)]
pub enum Failed<E> {
    /// The API server refused, or did not answer.
    #[error("cannot create {name}")]
    Api {
        /// Name of the record.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// What has its name stops the caller.
    #[error("{name} exists")]
    There {
        /// Name of the record.
        name: String,
        /// What the caller says of it.
        why: E,
    },
    /// Every name that was tried is another record's.
    #[error("{last} and those before it exist")]
    Crowded {
        /// The last one that was tried.
        last: String,
    },
}

/// Makes, as the field manager `manager`, the first of `candidates` whose name is free. `judge` says of an object that has
/// the name already whether it counts as made (`Some`), is another record, so that the next candidate is tried (`None`), or
/// stops the caller. It is given no object if the one with the name has gone in the meantime.
pub async fn create<K, E>(
    client: &Client,
    namespace: &str,
    manager: &str,
    candidates: impl IntoIterator<Item = K>,
    judge: impl Fn(Option<DeserializeGuard<K>>) -> Result<Option<K>, E>,
) -> Result<Made<K>, Failed<E>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let guarded: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
    let params = PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    };
    let mut last = String::new();
    for candidate in candidates {
        let name = candidate.name_any();
        let failed = |source| Failed::Api {
            name: name.clone(),
            source: Box::new(source),
        };
        match answer::create(&api, &params, &candidate).await {
            Ok(metadata) => return Ok(Made::Now(candidate, Box::new(metadata))),
            Err(error) if classify::is_conflict(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        let there = classify::found(guarded.get(&name).await).map_err(failed)?;
        match judge(there) {
            Ok(Some(there)) => return Ok(Made::Before(there)),
            Ok(None) => last = name,
            Err(why) => return Err(Failed::There { name, why }),
        }
    }
    Err(Failed::Crowded { last })
}

#[cfg(test)]
mod tests {
    use super::{Failed, Made, create};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt as _, core::DeserializeGuard};
    use serde_json::json;
    use slipway_support::fake_api::Fake;

    const PATH: &str = "/api/v1/namespaces/team/configmaps";

    /// A record with this number and content.
    fn record(number: i64, content: &str) -> ConfigMap {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("hello-r{number}"), "namespace": "team"}, "data": {"is": content},
        }))
        .unwrap()
    }

    fn content(record: &ConfigMap) -> &str {
        record.data.as_ref().map_or("", |data| data["is"].as_str())
    }

    /// Makes a record of this content from this number on: its name, and whether it is new.
    async fn made(fake: &Fake, first: i64, wanted: &str) -> Result<(String, bool), String> {
        let judge = |there: Option<DeserializeGuard<ConfigMap>>| {
            let there = there.and_then(|guard| guard.0.ok()).ok_or("it is gone")?;
            match content(&there) {
                "foreign" => Err("it is foreign"),
                is => Ok((is == wanted).then_some(there)),
            }
        };
        let candidates = (first..first + 3).map(|number| record(number, wanted));
        let client = fake.client();
        match create(&client, "team", "slipway/test", candidates, judge).await {
            Ok(Made::Now(record, metadata)) => {
                assert_eq!(metadata.name.as_deref(), Some(record.name_any().as_str()));
                Ok((record.name_any(), true))
            }
            Ok(Made::Before(record)) => Ok((record.name_any(), false)),
            Err(Failed::There { name, why }) => Err(format!("{name}: {why}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_number_is_given_once_and_a_state_recorded_once() {
        let fake = Fake::default();
        let ok = |name: &str, new| Ok((name.to_owned(), new));
        assert_eq!(made(&fake, 1, "a").await, ok("hello-r1", true));
        // Who comes second with the same state finds it, and with another one takes the next number.
        assert_eq!(made(&fake, 1, "a").await, ok("hello-r1", false));
        assert_eq!(made(&fake, 1, "b").await, ok("hello-r2", true));
        assert_eq!(made(&fake, 1, "b").await, ok("hello-r2", false));
        assert_eq!(fake.objects(PATH).len(), 2);
    }

    #[tokio::test]
    async fn two_at_once_never_get_the_same_number() {
        let fake = Fake::default();
        let (one, other) = futures::join!(made(&fake, 1, "a"), made(&fake, 1, "b"));
        let mut names = [one.unwrap(), other.unwrap()];
        names.sort();
        assert_eq!(
            names,
            [("hello-r1".to_owned(), true), ("hello-r2".to_owned(), true)]
        );
        let (one, other) = futures::join!(made(&fake, 3, "c"), made(&fake, 3, "c"));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((&one.0, one.1 ^ other.1), (&other.0, true));
    }

    #[tokio::test]
    async fn what_is_foreign_stops_and_what_is_crowded_is_given_up() {
        let fake = Fake::default();
        let put = |number: i64, content: &str| {
            let object = serde_json::to_value(record(number, content)).unwrap();
            fake.put(&format!("{PATH}/hello-r{number}"), object);
        };
        put(1, "foreign");
        assert_eq!(
            made(&fake, 1, "a").await,
            Err("hello-r1: it is foreign".to_owned())
        );
        for number in 2..=4 {
            put(number, "another");
        }
        let error = made(&fake, 2, "a").await.unwrap_err();
        assert_eq!(error, "hello-r4 and those before it exist");
        assert_eq!(fake.objects(PATH).len(), 4);
    }
}
