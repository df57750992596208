//! Unpacks the cache of the App's last successful build, if there is one.

use crate::archive::{Dir, Limits, extract_gzip};
use crate::fetch::{FetchError, Volume, volume::failed};
use slipway_base::zone::{input::FetchInput, layout};
use slipway_remotes::registry::Registry;

/// Limits of a cache: it comes from a build of this App, whose code may have been hostile.
const LIMITS: Limits = Limits {
    entries: 2_000_000,
    bytes: 16 * 1024 * 1024 * 1024,
};

/// Unpacks the cache. Returns its size in bytes; `None` if there is none.
pub(super) async fn bring_in(
    input: &FetchInput,
    registry: &Registry,
    volume: &Volume,
) -> Result<Option<u64>, FetchError> {
    let Some(manifest) = registry
        .manifest(&input.repository, &input.cache_tag)
        .await?
    else {
        return Ok(None);
    };
    let Some(layer) = manifest.image.layers.first() else {
        return Ok(None);
    };
    let file = registry.pull_file(&input.repository, layer).await?;
    let path = volume.path(layout::CACHE_DIR);
    tokio::task::spawn_blocking(move || {
        let into = Dir::open(&path).map_err(failed(&path))?;
        extract_gzip(file, &into, LIMITS)
            .map(Some)
            .map_err(|error| FetchError::Archive {
                what: "the cache in the registry".to_owned(),
                error,
            })
    })
    .await?
}
