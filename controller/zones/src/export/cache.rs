//! Stores the cache that a successful build leaves as an artifact, if it has changed. The artifact names the image of
//! the same build, so that the next build need not pack that image's unchanged layers again.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::{StreamExt, stream};

use crate::archive::{
    Blob, Dir, Known, Modes, Owner, Stored, TreeOptions, WriteError, write_blob_unless,
};
use crate::export::{AT_ONCE, ExportError, Places, image};
use slipway_base::zone::{
    input::{Artifact, ExportInput},
    layout,
};
use slipway_remotes::registry::{Content, Descriptor, Layer, Manifest, Registry};

/// Artifact type of a cache.
const ARTIFACT_TYPE: &str = "application/vnd.slipway.cache.v1";
const LAYER_TYPE: &str = "application/vnd.slipway.cache.v1.tar+gzip";
/// Most bytes of a cache. The fetch zone has the same limit.
const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
const MAX_ENTRIES: u64 = 1_000_000;

/// Annotation: digest of the image from the same build.
const IMAGE: &str = "slipway.dev/image";
/// Annotation: digest of the cache's uncompressed tar.
const DIFF_ID: &str = "slipway.dev/diff-id";

/// What the App's last successful build has left in the registry.
#[derive(Default)]
pub(super) struct Last {
    /// Layers of its image.
    pub(super) layers: Arc<Known>,
    /// Its cache.
    cache: Known,
    /// Digest of its image.
    image: Option<String>,
}

/// Reads it from the registry. After an error export packs everything anew, and a later request to the registry reports
/// the error.
pub(super) async fn last(input: &ExportInput) -> Last {
    let Ok(registry) = Registry::new(&input.registry) else {
        return Last::default();
    };
    let found = registry.manifest(&input.repository, &input.cache_tag).await;
    let Ok(Some(Manifest { image: cache, .. })) = found else {
        return Last::default();
    };
    let image = cache.annotations.get(IMAGE).cloned();
    let layers = match &image {
        Some(image) => layers(input, &registry, image).await.unwrap_or_default(),
        None => Known::new(),
    };
    let packed = cache.layers.into_iter().filter_map(|layer| {
        let diff_id = layer.annotations.get(DIFF_ID)?.clone();
        Some((diff_id, layer))
    });
    Last {
        layers: Arc::new(layers),
        cache: there(input, &registry, packed).await,
        image,
    }
}

/// The layers of an image.
async fn layers(
    input: &ExportInput,
    registry: &Registry,
    image: &str,
) -> Result<Known, ExportError> {
    let manifest = registry
        .artifact(&Artifact {
            repository: input.repository.clone(),
            digest: image.to_owned(),
        })
        .await?;
    let config = registry
        .pull_bytes(&input.repository, &manifest.config)
        .await?;
    let layers = image::diff_ids(&config).into_iter().zip(manifest.layers);
    Ok(there(input, registry, layers).await)
}

/// Those layers that the repository still has.
async fn there(
    input: &ExportInput,
    registry: &Registry,
    layers: impl Iterator<Item = (String, Descriptor)>,
) -> Known {
    stream::iter(layers)
        .map(|(diff_id, blob)| async move {
            let there = registry.has(&input.repository, &blob).await;
            let Descriptor { digest, size, .. } = blob;
            matches!(there, Ok(true)).then_some((diff_id, Stored { digest, size }))
        })
        .buffered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Packs the cache, unless it is unchanged.
pub(super) async fn pack(
    input: &ExportInput,
    places: &Places,
    last: &Last,
) -> Result<Blob, ExportError> {
    let options = TreeOptions {
        owner: Owner::default(),
        time: u64::try_from(input.source_date_epoch).unwrap_or_default(),
        modes: Modes::Kept,
        max_bytes: MAX_BYTES,
        max_entries: MAX_ENTRIES,
    };
    let (workspace, known) = (places.workspace.clone(), last.cache.clone());
    let blob = tokio::task::spawn_blocking(move || {
        let cache = Path::new(layout::CACHE_DIR);
        let dir = Dir::open(&workspace)
            .and_then(|volume| volume.beneath(cache))
            .map_err(|error| WriteError::Read {
                path: cache.into(),
                error,
            })?;
        write_blob_unless(&known, options, Arc::default(), |writer| {
            writer.tree(&dir, Path::new(""), &|_| false)
        })
    })
    .await??;
    Ok(blob)
}

/// Stores the cache under the digest of its image. Returns its size; `None` if the registry already has the same cache
/// with the same image.
pub(super) async fn push(
    input: &ExportInput,
    blob: &Blob,
    image: &str,
    last: &Last,
) -> Result<Option<u64>, ExportError> {
    let nothing = blob.entries == 0;
    let unchanged = blob.file.is_none() || (nothing && last.cache.is_empty());
    if unchanged && last.image.as_deref() == Some(image) {
        return Ok(None);
    }
    let layer = Layer {
        media_type: LAYER_TYPE.to_owned(),
        content: Content::from(blob),
        annotations: BTreeMap::from([(DIFF_ID.to_owned(), blob.diff_id.clone())]),
    };
    let layers = if nothing { vec![] } else { vec![layer] };
    // No long retries: nobody waits for the cache, and a lost one only slows down the next build.
    Registry::new(&input.registry)?
        .push_artifact(
            &input.repository,
            &input.cache_tag,
            ARTIFACT_TYPE,
            &layers,
            BTreeMap::from([(IMAGE.to_owned(), image.to_owned())]),
        )
        .await?;
    Ok((!unchanged).then_some(blob.size))
}
