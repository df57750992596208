//! The operator's key for names that are derived from values: one Secret, made at the first start.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};
use rustls::crypto::ring::default_provider;
use slipway_crds::labels;

use crate::{
    domain::env::HashKey,
    error::{Class, Classify},
    k8s::{
        FieldManager,
        classify::{self, found},
    },
};

/// Name of the Secret, in the operator's namespace.
pub const NAME: &str = "slipway-hash-key";
const FIELD: &str = "key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The Secret could not be read or made.
    #[error("cannot read or create Secret {NAME}")]
    Api(#[source] Box<kube::Error>),
    /// The Secret holds something else.
    #[error(
        "Secret {NAME} has no {FIELD} of {} bytes: delete it to have a new one made; every App is then released once more",
        HashKey::LENGTH
    )]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Classify for KeyError {
    fn class(&self) -> Class {
        match self {
            Self::Api(error) => classify::class(error),
            Self::Damaged => Class::Stalled,
            Self::Random => Class::Transient,
        }
    }
}

/// Reads the key, or makes it. Of two that make it at once, the first counts for both.
pub async fn hash_key(client: &Client, namespace: &str) -> Result<HashKey, KeyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let failed = |error| KeyError::Api(Box::new(error));
    if let Some(secret) = found(api.get(NAME).await).map_err(failed)? {
        return of(&secret);
    }
    let params = PostParams {
        field_manager: Some(FieldManager::Operator.as_str().to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, &fresh()?).await {
        Ok(secret) => of(&secret),
        Err(error) if classify::is_conflict(&error) => of(&api.get(NAME).await.map_err(failed)?),
        Err(error) => Err(failed(error)),
    }
}

fn fresh() -> Result<Secret, KeyError> {
    let mut bytes = [0; HashKey::LENGTH];
    default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| KeyError::Random)?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([(
                labels::MANAGED_BY.to_owned(),
                labels::SLIPWAY.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            FIELD.to_owned(),
            ByteString(bytes.to_vec()),
        )])),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

fn of(secret: &Secret) -> Result<HashKey, KeyError> {
    secret
        .data
        .as_ref()
        .and_then(|data| data.get(FIELD))
        .and_then(|bytes| HashKey::from_bytes(&bytes.0))
        .ok_or(KeyError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::{fresh, of};
    use k8s_openapi::api::core::v1::Secret;

    #[test]
    fn each_key_is_another_and_can_be_read_back() {
        let (first, second) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(of(&first).unwrap(), of(&first).unwrap());
        assert!(of(&first).unwrap() != of(&second).unwrap());
    }

    #[test]
    fn a_damaged_secret_says_what_to_do() {
        let error = of(&Secret::default()).unwrap_err().to_string();
        assert!(error.contains("delete it"), "{error}");
    }
}
