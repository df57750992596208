//! The tree of a commit ⇄ an artifact in the registry.
//!
//! Whoever brings a commit stores it here: the fetch zone what it has fetched from a git server, and in the same way whoever
//! takes pushes. A build unpacks it, and cannot tell who brought it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use slipway_base::zone::input::Artifact;
use slipway_remotes::registry::{Content, Layer, Registry, RegistryError};

use crate::archive::{
    ArchiveError, Dir, Limits, Modes, Owner, TreeOptions, WriteError, extract_gzip, write_blob,
};

/// Artifact type of a source.
const ARTIFACT_TYPE: &str = "application/vnd.slipway.source.v1";
const LAYER_TYPE: &str = "application/vnd.slipway.source.v1.tar+gzip";
/// Modification time of every file of a source, because git stores none.
const TIME: u64 = 0;
/// Annotation of a source artifact: the commit.
const COMMIT: &str = "org.opencontainers.image.revision";
/// Annotation of a source artifact: the paths of the commit's submodules, one a line.
const SUBMODULES: &str = "dev.slipway.source.submodules";
/// Most bytes of that annotation.
const ANNOTATION: usize = 64 * 1024;

/// Why a source cannot be stored or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The artifact is none of a source.
    #[error("{0}@{1} in the registry is no source")]
    Other(String, String),
    /// The artifact cannot be unpacked.
    #[error("the source in the registry: {0}")]
    Archive(ArchiveError),
    /// The tree cannot be packed.
    #[error("cannot store the source: {0}")]
    Pack(#[from] WriteError),
    /// The folder of the tree cannot be opened.
    #[error("cannot open {}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A task panicked or was cancelled.
    #[error("a task ended in an unexpected way: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// The whole commit id.
    pub commit: &'a str,
    /// The folder that has its files.
    pub folder: &'a Path,
    /// Paths of its submodules, which are empty folders.
    pub submodules: &'a [String],
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub artifact: Artifact,
    /// How many files and folders it has.
    pub entries: u64,
    /// Its size, packed, in bytes.
    pub bytes: u64,
}

/// Stores a tree in `repository`; `tag` protects it from the registry's garbage collection. The same tree gives the same
/// artifact. Fails if it has more than `limits`.
pub async fn store(
    registry: &Registry,
    repository: &str,
    tag: &str,
    tree: Tree<'_>,
    limits: Limits,
) -> Result<Stored, SourceError> {
    let options = TreeOptions {
        owner: Owner::default(),
        time: TIME,
        modes: Modes::Normal,
        max_bytes: limits.bytes,
        max_entries: limits.entries,
    };
    let folder = tree.folder.to_owned();
    let blob = tokio::task::spawn_blocking(move || {
        let dir = open(&folder)?;
        write_blob(options, |writer| {
            writer.tree(&dir, Path::new(""), &|_| false)
        })
        .map_err(SourceError::from)
    })
    .await??;
    let layer = Layer {
        media_type: LAYER_TYPE.to_owned(),
        content: Content::from(&blob),
        annotations: BTreeMap::new(),
    };
    let mut annotations = BTreeMap::from([(COMMIT.to_owned(), tree.commit.to_owned())]);
    if !tree.submodules.is_empty() {
        annotations.insert(SUBMODULES.to_owned(), listed(tree.submodules));
    }
    let artifact = registry
        .push_artifact(repository, tag, ARTIFACT_TYPE, &[layer], annotations)
        .await?;
    Ok(Stored {
        artifact,
        entries: blob.entries,
        bytes: blob.size,
    })
}

/// Unpacks a source into an empty folder, within `limits`. Returns the paths of its submodules, which are empty folders.
pub async fn unpack(
    registry: &Registry,
    artifact: &Artifact,
    folder: PathBuf,
    limits: Limits,
) -> Result<Vec<String>, SourceError> {
    let manifest = registry.artifact(artifact).await?;
    let Artifact { repository, digest } = artifact;
    let other = || SourceError::Other(repository.clone(), digest.clone());
    let layer = manifest.layers.first().ok_or_else(other)?;
    let file = registry.pull_file(repository, layer).await?;
    let submodules = manifest
        .annotations
        .get(SUBMODULES)
        .map(|paths| paths.lines().map(str::to_owned).collect())
        .unwrap_or_default();
    tokio::task::spawn_blocking(move || {
        let into = open(&folder)?;
        extract_gzip(file, &into, limits)
            .map(drop)
            .map_err(SourceError::Archive)
    })
    .await??;
    Ok(submodules)
}

fn open(folder: &Path) -> Result<Dir, SourceError> {
    Dir::open(folder).map_err(|error| SourceError::Folder {
        path: folder.to_owned(),
        error,
    })
}

/// The paths as an annotation, cut off at the limit.
fn listed(paths: &[String]) -> String {
    let mut text = String::new();
    for path in paths.iter().filter(|path| !path.contains('\n')) {
        if text.len() + path.len() > ANNOTATION {
            break;
        }
        text.push_str(path);
        text.push('\n');
    }
    text
}
