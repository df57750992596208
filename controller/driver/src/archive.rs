//! Stores the whole log of a finished Build in the registry, as an artifact with one compressed layer.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::log::LogError;
use slipway_base::zone::input::Artifact;
use slipway_remotes::registry::{Content, Layer, Registry};

/// Media type of the artifact and of its only layer.
const ARTIFACT: &str = "application/vnd.slipway.log.v1";
const LAYER: &str = "application/vnd.slipway.log.v1.text+gzip";

/// Pushes a log that is compressed already.
pub async fn store(
    registry: &Registry,
    repository: &str,
    tag: &str,
    compressed: Bytes,
) -> Result<Artifact, LogError> {
    let layer = Layer {
        media_type: LAYER.to_owned(),
        content: Content::Bytes(compressed),
        annotations: BTreeMap::new(),
    };
    Ok(registry
        .push_artifact(repository, tag, ARTIFACT, &[layer], BTreeMap::new())
        .await?)
}
