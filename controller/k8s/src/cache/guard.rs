//! Text → an object or, if it is not one, its metadata and what is wrong.

use kube::{
    Resource,
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;

/// A [`DeserializeGuard`] that is read from JSON text. The guard itself first makes a tree of each object, and a copy of
/// the tree, which takes several times as long as to read the object.
#[derive(Clone)]
pub(super) struct Guarded<K>(pub(super) DeserializeGuard<K>);

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let object = match serde_json::from_str(text.get()) {
            Ok(object) => Ok(object),
            Err(error) => {
                let meta = serde_json::from_str(text.get());
                let PartialObjectMeta::<K> { metadata, .. } = meta.map_err(D::Error::custom)?;
                Err(InvalidObject {
                    error: error.to_string(),
                    metadata,
                })
            }
        };
        Ok(Self(DeserializeGuard(object)))
    }
}
