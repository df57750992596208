//! Fetches buildpacks into one empty folder each: the Stack's from the registry, others from git servers and as
//! archives.

mod one;

use std::{collections::BTreeMap, fs, fs::File, path::Path};

use futures::{StreamExt, TryStreamExt, stream};

use crate::console::Console;
use crate::fetch::{FetchError, Volume, volume::failed};
use one::{Sources, cannot, from_registry};
use slipway_base::zone::{
    input::{FetchInput, PackInput},
    layout,
    report::{Pack, Packs},
};
use slipway_core::domain::pack_choice::{Choice, PackRef};
use slipway_remotes::{registry::Registry, web::Web};

/// How many buildpacks are fetched at once.
const AT_ONCE: usize = 6;

/// The Stack's buildpacks by name, as files.
#[derive(Default)]
pub(super) struct Bundled(BTreeMap<String, File>);

/// Fetches buildpacks of the Stack from the registry.
pub(super) async fn bundled(
    registry: &Registry,
    packs: &[PackInput],
) -> Result<Bundled, FetchError> {
    let files = stream::iter(packs.iter().map(|pack| async move {
        let file = from_registry(registry, pack).await?;
        Ok::<_, FetchError>((pack.name.clone(), file))
    }))
    .buffer_unordered(AT_ONCE)
    .try_collect()
    .await?;
    Ok(Bundled(files))
}

/// Puts the chosen buildpacks into their folders, and writes the list of them.
pub(super) async fn bring_in(
    input: &FetchInput,
    registry: &Registry,
    volume: &Volume,
    choice: &Choice,
    mut bundled: Bundled,
    web: &Web,
    console: &Console,
) -> Result<(), FetchError> {
    let mut wanted = vec![];
    for (index, pack) in choice.packs.iter().enumerate() {
        let file = match pack {
            PackRef::Bundled(name) => bundled.0.remove(name),
            _ => None,
        };
        wanted.push((index, pack, file));
    }
    let sources = &Sources {
        input,
        registry,
        web,
        console,
    };
    let packs: Vec<Pack> = stream::iter(wanted.into_iter().map(|(index, pack, file)| async move {
        let folder = format!("{index:02}-{}", pack.folder());
        let staged = volume.stage(&format!("pack-{index:02}"))?;
        let digest = sources.fetch(pack, file, &staged).await?;
        let root = top(&staged);
        if !root.join("bin").is_dir() {
            let why = "it is no buildpack: it has no folder bin";
            return Err(cannot(&pack.name(), why.to_owned(), false));
        }
        volume.place(&root, &format!("{}/{folder}", layout::PACKS_DIR))?;
        Ok::<_, FetchError>(Pack {
            name: pack.name(),
            folder,
            digest,
        })
    }))
    .buffered(AT_ONCE)
    .try_collect()
    .await?;
    volume.unstage()?;
    let packs = Packs {
        explicit: choice.explicit(),
        packs,
    };
    let path = volume.path(layout::PACKS_FILE);
    let text =
        serde_json::to_vec(&packs).map_err(|error| failed(&path)(std::io::Error::other(error)))?;
    fs::write(&path, text).map_err(failed(&path))
}

/// The folder to use: archives of repositories hold one folder with everything in it.
fn top(staged: &Path) -> std::path::PathBuf {
    let mut entries = fs::read_dir(staged).into_iter().flatten().flatten();
    if !staged.join("bin").is_dir()
        && let (Some(only), None) = (entries.next(), entries.next())
        && only.file_type().is_ok_and(|kind| kind.is_dir())
    {
        return only.path();
    }
    staged.to_owned()
}
