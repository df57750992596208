//! The volume, while fetch fills it: fresh folders, and programs of ours.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::archive::Dir;
use crate::fetch::{FetchError, Places};
use slipway_base::zone::layout;

/// Folder in which things are unpacked before they get their place by renaming.
const STAGING: &str = "slipway/staging";

/// The volume.
#[derive(Clone, Debug)]
pub struct Volume {
    root: PathBuf,
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.display().to_string();
    move |error| FetchError::Volume { path, error }
}

impl Volume {
    /// Makes the folders, empty.
    pub(super) fn prepare(places: &Places) -> Result<Self, FetchError> {
        let volume = Self {
            root: places.workspace.clone(),
        };
        volume.remove("slipway")?;
        for folder in [
            layout::CACHE_DIR,
            layout::PACKS_DIR,
            layout::BIN_DIR,
            STAGING,
        ] {
            volume.empty(folder)?;
        }
        volume.remove(layout::BUILD_DIR)?;
        Ok(volume)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn remove(&self, name: &str) -> Result<(), FetchError> {
        let path = self.path(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes a folder anew.
    pub(super) fn empty(&self, name: &str) -> Result<(), FetchError> {
        self.remove(name)?;
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(failed(&path))
    }

    /// A fresh folder on the volume, to be moved to its place or removed.
    pub(super) fn stage(&self, name: &str) -> Result<PathBuf, FetchError> {
        let path = self.path(STAGING).join(name);
        fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(path)
    }

    /// Gives what is staged its place.
    pub(super) fn place(&self, staged: &Path, name: &str) -> Result<(), FetchError> {
        let path = self.path(name);
        fs::rename(staged, &path).map_err(failed(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed(&path))
    }

    /// Removes what is staged, once everything has its place.
    pub(super) fn unstage(&self) -> Result<(), FetchError> {
        self.remove(STAGING)
    }

    /// Opens one of its folders.
    pub(super) fn open(&self, name: &str) -> Result<Dir, FetchError> {
        let path = self.path(name);
        Dir::open(&path).map_err(failed(&path))
    }

    /// Brings in the programs that the build zone runs; Stack images hold nothing of ours.
    pub(super) fn copy_programs(&self, from: &Path) -> Result<(), FetchError> {
        for name in [layout::BUILDER, layout::PACK] {
            let source = from.join(name);
            let target = self.path(layout::BIN_DIR).join(name);
            fs::copy(&source, &target).map_err(failed(&source))?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
                .map_err(failed(&target))?;
        }
        Ok(())
    }
}
