//! Fetches buildpacks into one empty folder each: the Stack's from the registry, others from git servers and as
//! archives.

use std::{collections::BTreeMap, fs, fs::File, path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};

use crate::fetch::{
    FetchError, Volume,
    download::{DownloadError, Downloads},
    git::{Access, GitError},
    retry,
    volume::failed,
};
use crate::{
    archive::{ArchiveError, Dir, Limits, extract, extract_gzip},
    console::Console,
};
use slipway_base::zone::{
    input::{FetchInput, PackInput},
    layout,
    report::{Pack, Packs},
};
use slipway_core::domain::pack_choice::{Choice, PackRef};
use slipway_remotes::{
    registry::{Registry, RegistryError},
    web::Web,
};

/// Limits of a buildpack.
const LIMITS: Limits = Limits {
    entries: 100_000,
    bytes: 1024 * 1024 * 1024,
};
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

async fn from_registry(registry: &Registry, pack: &PackInput) -> Result<File, FetchError> {
    let failed = |error: RegistryError| FetchError::Pack {
        name: pack.name.clone(),
        message: error.to_string(),
        may_pass: error.may_pass(),
    };
    let manifest = registry.artifact(&pack.artifact).await.map_err(failed)?;
    let layer = manifest.layers.first().ok_or_else(|| FetchError::Pack {
        name: pack.name.clone(),
        message: "its artifact in the registry is empty".to_owned(),
        may_pass: false,
    })?;
    registry
        .pull_file(&pack.artifact.repository, layer)
        .await
        .map_err(failed)
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
    let packs: Vec<Pack> = stream::iter(wanted.into_iter().map(|(index, pack, file)| async move {
        let folder = format!("{index:02}-{}", pack.folder());
        let staged = volume.stage(&format!("pack-{index:02}"))?;
        let digest = one(input, registry, pack, file, &staged, web, console).await?;
        let root = top(&staged);
        if !root.join("bin").is_dir() {
            return Err(FetchError::Pack {
                name: pack.name(),
                message: "it is no buildpack: it has no folder bin".to_owned(),
                may_pass: false,
            });
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

/// Fetches one buildpack. Returns its digest or commit.
async fn one(
    input: &FetchInput,
    registry: &Registry,
    pack: &PackRef,
    file: Option<File>,
    into: &Path,
    web: &Web,
    console: &Console,
) -> Result<String, FetchError> {
    let failed = |message: String, may_pass| FetchError::Pack {
        name: pack.name(),
        message,
        may_pass,
    };
    let wrong = |message| failed(message, false);
    let of_git = |error: GitError| failed(error.to_string(), error.may_pass());
    match pack {
        PackRef::Bundled(name) => {
            let of_stack = input
                .stack_packs
                .iter()
                .find(|p| p.name == *name)
                .ok_or_else(|| wrong("the Stack does not have it".to_owned()))?;
            let file = match file {
                Some(file) => file,
                None => from_registry(registry, of_stack).await?,
            };
            unpack(file, true, into)
                .await?
                .map_err(|error| wrong(error.to_string()))?;
            Ok(of_stack.artifact.digest.clone())
        }
        PackRef::Git { url, reference } => {
            console.heading(&format!("Fetching buildpack {}", pack.name()));
            let access = Access {
                url,
                credentials: None,
                ca_pem: input.ca_pem.as_deref(),
                web,
                env: &input.process_env,
                limits: &input.git,
            };
            let fetched = retry(console, GitError::is_transient, || {
                access.fetch_reference(reference.as_deref())
            })
            .await
            .map_err(of_git)?;
            let submodules = access
                .unpack(&fetched, into.to_owned())
                .await
                .map_err(of_git)?;
            if let Some(path) = submodules.first() {
                return Err(of_git(GitError::submodule(path)));
            }
            Ok(fetched.commit)
        }
        PackRef::Archive { url, gzip } => {
            console.heading(&format!("Fetching buildpack {}", pack.name()));
            let scheme = url.split("://").next().unwrap_or_default();
            if !input.git.protocols.iter().any(|p| p == scheme) || scheme == "git" {
                return Err(wrong(format!(
                    "{scheme} is not among the protocols that are allowed here for archives"
                )));
            }
            let downloads = Downloads {
                web,
                protocols: &input.git.protocols,
                max_bytes: input.git.max_bytes,
                timeout: Duration::from_secs(input.git.timeout_seconds),
            };
            let (file, digest) = retry(
                console,
                |error: &DownloadError| error.transient,
                || downloads.get(url),
            )
            .await
            .map_err(|error| failed(format!("cannot be downloaded: {error}"), error.transient))?;
            unpack(file, *gzip, into)
                .await?
                .map_err(|error| wrong(error.to_string()))?;
            Ok(digest)
        }
    }
}

async fn unpack(
    file: File,
    gzip: bool,
    into: &Path,
) -> Result<Result<(), ArchiveError>, FetchError> {
    let path = into.to_owned();
    tokio::task::spawn_blocking(move || {
        let into = Dir::open(&path).map_err(failed(&path))?;
        let unpacked = if gzip {
            extract_gzip(file, &into, LIMITS)
        } else {
            extract(std::io::BufReader::new(file), &into, LIMITS)
        };
        Ok(unpacked.map(drop))
    })
    .await?
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
