//! The cache that a successful build leaves → an artifact, if it has changed. It names the image that it came with,
//! whose layers need not be packed again.

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

/// What a cache artifact is.
const ARTIFACT_TYPE: &str = "application/vnd.slipway.cache.v1";
const LAYER_TYPE: &str = "application/vnd.slipway.cache.v1.tar+gzip";
/// What a cache may hold; fetch takes no more back.
const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
const MAX_ENTRIES: u64 = 1_000_000;

/// Digest of the image that a cache came with.
const IMAGE: &str = "slipway.dev/image";
/// What a cache unpacks to.
const DIFF_ID: &str = "slipway.dev/diff-id";

/// What the App's last build that succeeded has left in the registry.
#[derive(Default)]
pub(super) struct Last {
    /// Its image's layers.
    pub(super) layers: Arc<Known>,
    /// Its cache.
    cache: Known,
    /// Digest of its image.
    image: Option<String>,
}

/// Finds out. Whoever does not get to know packs anew, and hears from the registry what is wrong with it.
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

/// Those that the repository still has.
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

/// Puts the cache into an archive, unless it is as it was.
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

/// Stores the cache with the image that it came with. Tells its size, `None` if it is what the registry has already.
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
    // Nobody waits for the cache: the next build is quick to say so.
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
