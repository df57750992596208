//! The cache that a successful build leaves → an artifact, if it has changed.

use std::{collections::BTreeMap, path::Path};

use crate::zone::export::{ExportError, Places};
use crate::{
    registry::{Content, Layer, Registry},
    zone::{
        archive::{Blob, Dir, Modes, Owner, TreeOptions, WriteError, write_blob},
        input::ExportInput,
        layout,
    },
};

/// What a cache artifact is.
const ARTIFACT_TYPE: &str = "application/vnd.slipway.cache.v1";
const LAYER_TYPE: &str = "application/vnd.slipway.cache.v1.tar+gzip";
/// What a cache may hold; fetch takes no more back.
const MAX_BYTES: u64 = 8 * 1024 * 1024 * 1024;
const MAX_ENTRIES: u64 = 1_000_000;

/// Puts the cache into an archive.
pub(super) async fn pack(input: &ExportInput, places: &Places) -> Result<Blob, ExportError> {
    let options = TreeOptions {
        owner: Owner::default(),
        time: u64::try_from(input.source_date_epoch).unwrap_or_default(),
        modes: Modes::Kept,
        max_bytes: MAX_BYTES,
        max_entries: MAX_ENTRIES,
    };
    let workspace = places.workspace.clone();
    let blob = tokio::task::spawn_blocking(move || {
        let cache = Path::new(layout::CACHE_DIR);
        let dir = Dir::open(&workspace)
            .and_then(|volume| volume.beneath(cache))
            .map_err(|error| WriteError::Read {
                path: cache.into(),
                error,
            })?;
        write_blob(options, |writer| {
            writer.tree(&dir, Path::new(""), &|_| false)
        })
    })
    .await??;
    Ok(blob)
}

/// Stores the cache. Tells its size, `None` if it is what the registry has already.
pub(super) async fn push(input: &ExportInput, blob: Blob) -> Result<Option<u64>, ExportError> {
    // Nobody waits for the cache: the next build is quick to say so.
    let registry = Registry::new(&input.registry)?;
    let before = registry
        .manifest(&input.repository, &input.cache_tag)
        .await?;
    let unchanged = match before {
        None => blob.entries == 0,
        Some(manifest) => {
            let layer = manifest.image.layers.first();
            layer.is_some_and(|layer| layer.digest == blob.digest)
        }
    };
    if unchanged {
        return Ok(None);
    }
    let layer = Layer {
        media_type: LAYER_TYPE.to_owned(),
        content: Content::File {
            file: blob.file,
            digest: blob.digest,
            size: blob.size,
        },
        annotations: BTreeMap::new(),
    };
    registry
        .push_artifact(
            &input.repository,
            &input.cache_tag,
            ARTIFACT_TYPE,
            &[layer],
            BTreeMap::new(),
        )
        .await?;
    Ok(Some(blob.size))
}
