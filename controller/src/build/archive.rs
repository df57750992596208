//! The whole log of a Build that is over, as an artifact in the registry.

use std::{collections::BTreeMap, fs::File, io::Read as _};

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::{StreamExt as _, stream, stream::BoxStream};

use crate::{
    build::log::LogError,
    registry::{Content, Layer, Registry},
    zone::input::Artifact,
};

/// Type of the artifact, and of its only layer.
const ARTIFACT: &str = "application/vnd.slipway.log.v1";
const LAYER: &str = "application/vnd.slipway.log.v1.text+gzip";
/// Bytes that are handed on at once.
const CHUNK: usize = 64 * 1024;

/// Writes a log, compressed already.
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

/// A log's text, without its first `skip` bytes.
pub async fn open(
    registry: &Registry,
    artifact: &Artifact,
    skip: u64,
) -> Result<BoxStream<'static, Result<Bytes, LogError>>, LogError> {
    let manifest = registry.artifact(artifact).await?;
    let Some(layer) = manifest.layers.iter().find(|l| l.media_type == LAYER) else {
        return Ok(stream::empty().boxed());
    };
    let file = registry.pull_file(&artifact.repository, layer).await?;
    let mut text = GzDecoder::new(file);
    std::io::copy(&mut text.by_ref().take(skip), &mut std::io::sink())?;
    Ok(stream::unfold(Some(text), |text| async move { chunk(text?) }).boxed())
}

type Chunk = (Result<Bytes, LogError>, Option<GzDecoder<File>>);

/// The next part of a log, from a local file.
fn chunk(mut text: GzDecoder<File>) -> Option<Chunk> {
    let mut buffer = vec![0; CHUNK];
    match text.read(&mut buffer) {
        Ok(0) => None,
        Ok(read) => {
            buffer.truncate(read);
            Some((Ok(buffer.into()), Some(text)))
        }
        Err(error) => Some((Err(error.into()), None)),
    }
}
