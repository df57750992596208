//! The Secret with the key of this installation → what is derived from the key.
//!
//! The first replica that finds no key makes one; it never changes after that. Another key would give every config
//! Secret another name, and so every App a new Release.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rustls::crypto::{GetRandomFailed, ring};
use sha2::{Digest as _, Sha256};
use slipway_crds::labels;
use tokio::time::sleep;

use slipway_base::error::{Class, Classify};

use slipway_core::domain::env::HashKey;
use slipway_k8s::classify::chain;
use slipway_k8s::{FieldManager, classify};

/// Name of the Secret, unless the settings name another.
const SECRET: &str = "slipway-hash-key";
/// The key's entry in the Secret.
const ENTRY: &str = "key";
/// Bytes of a new key, and fewest bytes of a given key: a shorter one could be guessed.
const LENGTH: usize = 48;
const SHORTEST: usize = 16;
/// Delay between two tries.
const RETRY: Duration = Duration::from_secs(2);

/// What is derived from an installation's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Key of the hashes in names that are derived from config values.
    pub hash_key: HashKey,
    /// Name of this installation on a build engine, which other installations may use as well. No other one has it.
    pub installation: String,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum HashKeyError {
    /// The API server refused, or did not answer.
    #[error(
        "cannot {verb} Secret {namespace}/{name}, which keeps the key of names made from config values"
    )]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Where.
        namespace: String,
        /// Which Secret.
        name: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// The settings name a Secret that does not exist.
    #[error("hashKey: there is no Secret {namespace}/{name}: make it, or leave the setting out")]
    Missing {
        /// Where it was looked for.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The Secret has no usable key.
    #[error(
        "Secret {namespace}/{name} has no {ENTRY} of {SHORTEST} bytes or more: put back the key that it had; with another one every App gets a new Release"
    )]
    Unusable {
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The system has no randomness.
    #[error(
        "cannot make the key of names made from config values: the system gives no random bytes"
    )]
    Random,
}

impl Classify for HashKeyError {
    fn class(&self) -> Class {
        match self {
            Self::Api { source, .. } => classify::class(source),
            Self::Missing { .. } | Self::Unusable { .. } | Self::Random => Class::Stalled,
        }
    }
}

impl From<GetRandomFailed> for HashKeyError {
    fn from(_: GetRandomFailed) -> Self {
        Self::Random
    }
}

/// Waits until the API server returns the key. If the process ended instead, Kubernetes would restart it with growing
/// delays.
pub async fn wait(
    client: &Client,
    namespace: &str,
    named: Option<&str>,
) -> Result<Key, HashKeyError> {
    loop {
        match ensure(client, namespace, named).await {
            Err(error) if error.class() == Class::Transient => {
                tracing::warn!(
                    error = chain(&error),
                    "there is no hash key yet; trying again"
                );
                sleep(RETRY).await;
            }
            done => return done,
        }
    }
}

/// The kept key, or a new one if none is kept and the settings name no Secret.
async fn ensure(
    client: &Client,
    namespace: &str,
    named: Option<&str>,
) -> Result<Key, HashKeyError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = named.unwrap_or(SECRET);
    let failed = |verb| {
        move |source| HashKeyError::Api {
            verb,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source: Box::new(source),
        }
    };
    let secret = match classify::found(secrets.get(name).await).map_err(failed("read"))? {
        Some(kept) => kept,
        None if named.is_some() => {
            return Err(HashKeyError::Missing {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
        None => {
            let params = PostParams {
                field_manager: Some(FieldManager::Operator.as_str().to_owned()),
                ..PostParams::default()
            };
            match secrets.create(&params, &new()?).await {
                Ok(made) => {
                    tracing::info!(secret = name, "made the key of names from config values");
                    made
                }
                // Another replica was faster: take its key.
                Err(error) if classify::is_conflict(&error) => {
                    secrets.get(name).await.map_err(failed("read"))?
                }
                Err(error) => return Err(failed("create")(error)),
            }
        }
    };
    key_of(&secret).ok_or_else(|| HashKeyError::Unusable {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn new() -> Result<Secret, HashKeyError> {
    let mut key = vec![0; LENGTH];
    ring::default_provider().secure_random.fill(&mut key)?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([(
                labels::MANAGED_BY.to_owned(),
                labels::SLIPWAY.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([(ENTRY.to_owned(), ByteString(key))])),
        ..Secret::default()
    })
}

fn key_of(secret: &Secret) -> Option<Key> {
    let key = &secret.data.as_ref()?.get(ENTRY)?.0;
    if key.len() < SHORTEST {
        return None;
    }
    Some(Key {
        hash_key: HashKey::from_bytes(&Sha256::digest(key))?,
        installation: installation(key),
    })
}

fn installation(key: &[u8]) -> String {
    let mut name = hex::encode(
        Sha256::new()
            .chain_update("installation")
            .chain_update(key)
            .finalize(),
    );
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, SECRET, ensure, key_of};
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;
    use slipway_base::error::{Class, Classify as _};

    use slipway_k8s::classify::chain;
    use slipway_support::fake_api::Fake;

    const PATH: &str = "/api/v1/namespaces/system/secrets";

    #[tokio::test]
    async fn the_first_replica_makes_it_for_good_and_all_have_the_same() {
        let fake = Fake::default();
        let (a, b) = (fake.client(), fake.client());
        let (a, b) = futures::join!(ensure(&a, "system", None), ensure(&b, "system", None));
        let first = a.unwrap();
        assert_eq!(first, b.unwrap());
        // Both found none and tried; one was refused.
        assert_eq!(
            fake.writes(),
            [format!("POST {PATH}"), format!("POST {PATH}")]
        );
        let later = ensure(&fake.client(), "system", None).await.unwrap();
        assert_eq!(later, first);
        assert_eq!(fake.writes().len(), 2);
        let kept: Secret =
            serde_json::from_value(fake.object(&format!("secrets/{SECRET}")).unwrap()).unwrap();
        assert_eq!(kept.immutable, Some(true));
        assert_eq!(kept.data.unwrap()["key"].0.len(), LENGTH);
    }

    #[tokio::test]
    async fn two_installations_differ() {
        let (a, b) = (Fake::default(), Fake::default());
        let a = ensure(&a.client(), "system", None).await.unwrap();
        let b = ensure(&b.client(), "system", None).await.unwrap();
        assert!(a.hash_key != b.hash_key && a.installation != b.installation);
    }

    #[tokio::test]
    async fn a_key_that_was_given_is_taken_and_one_that_is_missing_or_short_is_told() {
        let fake = Fake::default();
        let client = fake.client();
        let missing = ensure(&client, "system", Some("ours")).await.unwrap_err();
        assert_eq!(
            chain(&missing),
            "hashKey: there is no Secret system/ours: make it, or leave the setting out"
        );
        for (key, usable) in [("MDEyMzQ1Njc4OWFiY2RlZg==", true), ("MDEyMw==", false)] {
            fake.put(
                &format!("{PATH}/ours"),
                json!({"metadata": {"name": "ours"}, "data": {"key": key}}),
            );
            let told = ensure(&client, "system", Some("ours")).await;
            assert_eq!(told.is_ok(), usable, "{told:?}");
        }
        assert!(fake.writes().is_empty());
    }

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_is_asked_again_and_a_wrong_secret_is_not() {
        let fake = Fake::default();
        let client = fake.client();
        let missing = ensure(&client, "system", Some("ours")).await.unwrap_err();
        assert_eq!(missing.class(), Class::Stalled);
        fake.cut();
        let away = ensure(&client, "system", None).await.unwrap_err();
        assert_eq!(away.class(), Class::Transient);
    }

    /// Existing installations have labelled their objects on the engine with this name.
    #[test]
    fn what_follows_from_a_key_stays() {
        let secret: Secret = serde_json::from_value(
            json!({"metadata": {}, "data": {"key": "MDEyMzQ1Njc4OWFiY2RlZg=="}}),
        )
        .unwrap();
        let found = key_of(&secret).unwrap();
        assert_eq!(found.installation, "b71958470513faf3");
    }
}
