//! `/app` → layers, ordered by how often they change: the launcher, installed packages, the app's own files.

use std::{ffi::OsStr, fs::File, path::Path, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use rustix::fs::FileType;

use crate::archive::{
    Blob, Dir, Known, Modes, Owner, TreeOptions, Used, WriteError, Writer, write_blob_unless,
};
use crate::export::{ExportError, Places};
use slipway_base::zone::{input::ExportInput, layout};
use slipway_remotes::registry::{Descriptor, manifest::OCI_LAYER_GZIP};

/// Folders directly in `/app` in which buildpacks install what an app needs. Each becomes a layer. A buildpack that
/// uses another name only loses the smaller upload. A name that is added here changes no other layer.
const INSTALLED: [&str; 10] = [
    ".heroku",
    ".apt",
    ".jdk",
    ".delta",
    ".gem",
    ".local",
    ".m2",
    ".venv",
    "node_modules",
    "vendor",
];
/// Where the app lies in the image.
const APP: &str = "app";
/// Limits of our layers of one image together. The names in a folder are held in memory while it is read: this many of
/// the longest names fit into a build's memory limit.
const MAX_BYTES: u64 = 20 * 1024 * 1024 * 1024;
const MAX_ENTRIES: u64 = 1_000_000;

/// A layer that Slipway adds.
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) blob: Blob,
}

impl Layer {
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: OCI_LAYER_GZIP.to_owned(),
            digest: self.blob.digest.clone(),
            size: self.blob.size,
            ..Descriptor::default()
        }
    }
}

enum Part {
    Launcher,
    Installed(&'static str),
    Own,
}

/// Makes the layers, lowest first. Layers that the registry already has are not packed again.
pub(super) async fn make(
    input: &ExportInput,
    places: &Places,
    known: &Arc<Known>,
) -> Result<Vec<Layer>, ExportError> {
    let build = Path::new(layout::BUILD_DIR);
    let read = |error| ExportError::Read {
        path: format!("{} on the volume", build.display()),
        error,
    };
    let dir = Dir::open(&places.workspace)
        .and_then(|volume| volume.beneath(build))
        .map_err(read)?;
    let mut parts = vec![Part::Launcher];
    for name in INSTALLED {
        if matches!(dir.kind(OsStr::new(name)), Ok(FileType::Directory)) {
            parts.push(Part::Installed(name));
        }
    }
    parts.push(Part::Own);
    let used = Arc::new(Used::default());
    let both = std::thread::available_parallelism().map_or(1, usize::from);
    stream::iter(parts.into_iter().map(|part| {
        let (places, options) = (places.clone(), options(input));
        let (known, used) = (Arc::clone(known), Arc::clone(&used));
        async move {
            tokio::task::spawn_blocking(move || write(&part, &places, &known, options, used))
                .await?
        }
    }))
    .buffered(both)
    .try_collect()
    .await
}

fn options(input: &ExportInput) -> TreeOptions {
    let owner = u64::try_from(input.user_id).unwrap_or_default();
    TreeOptions {
        owner: Owner {
            user: owner,
            group: owner,
        },
        time: u64::try_from(input.source_date_epoch).unwrap_or_default(),
        modes: Modes::Kept,
        max_bytes: MAX_BYTES,
        max_entries: MAX_ENTRIES,
    }
}

fn write(
    part: &Part,
    places: &Places,
    known: &Known,
    options: TreeOptions,
    used: Arc<Used>,
) -> Result<Layer, ExportError> {
    let name = match part {
        Part::Launcher => "Launcher".to_owned(),
        Part::Installed(name) => format!("Installed in {name}"),
        Part::Own => "The app's own".to_owned(),
    };
    let blob = match part {
        Part::Launcher => {
            let options = TreeOptions {
                owner: Owner::default(),
                ..options
            };
            write_blob_unless(known, options, used, |writer| launcher(places, writer))
        }
        Part::Installed(name) => write_blob_unless(known, options, used, |writer| {
            installed(places, name, writer)
        }),
        Part::Own => write_blob_unless(known, options, used, |writer| own(places, writer)),
    }?;
    Ok(Layer { name, blob })
}

/// The launcher, where the image's entrypoint expects it.
fn launcher(places: &Places, writer: &mut Writer<'_>) -> Result<(), WriteError> {
    let path = places.programs.join(layout::LAUNCHER);
    let in_image = Path::new(layout::LAUNCHER_IN_IMAGE.trim_start_matches('/'));
    if let Some(folder) = in_image.parent() {
        writer.folder(folder, 0o755)?;
    }
    let launcher = File::open(&path).map_err(|error| WriteError::Read { path, error })?;
    writer.file(in_image, 0o755, &launcher)
}

/// One folder of installed packages.
fn installed(places: &Places, name: &str, writer: &mut Writer<'_>) -> Result<(), WriteError> {
    let dir = built(places)?
        .beneath(Path::new(name))
        .map_err(|error| WriteError::Read {
            path: name.into(),
            error,
        })?;
    let path = Path::new(APP).join(name);
    writer.folder(Path::new(APP), 0o755)?;
    writer.folder(&path, 0o755)?;
    writer.tree(&dir, &path, &|_| false)
}

/// Everything that is not in a layer of installed packages.
fn own(places: &Places, writer: &mut Writer<'_>) -> Result<(), WriteError> {
    let dir = built(places)?;
    let installed = |name: &OsStr| {
        INSTALLED.iter().any(|installed| name == *installed)
            && matches!(dir.kind(name), Ok(FileType::Directory))
    };
    writer.folder(Path::new(APP), 0o755)?;
    writer.tree(&dir, Path::new(APP), &installed)
}

/// What the buildpacks have made, on the volume.
fn built(places: &Places) -> Result<Dir, WriteError> {
    Dir::open(&places.workspace)
        .and_then(|volume| volume.beneath(Path::new(layout::BUILD_DIR)))
        .map_err(|error| WriteError::Read {
            path: layout::BUILD_DIR.into(),
            error,
        })
}
