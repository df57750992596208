//! Prepares the volume for the fetch zone: empty folders, and Slipway's programs.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::archive::Dir;
use crate::fetch::{FetchError, Places};
use slipway_base::zone::layout;

/// Folder in which downloads are unpacked before they are moved to their place.
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
    /// Makes the folders. They are empty afterwards.
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

    /// Removes a folder and makes it anew.
    pub(super) fn empty(&self, name: &str) -> Result<(), FetchError> {
        self.remove(name)?;
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(failed(&path))
    }

    /// Makes an empty folder on the volume, to be moved to its place or removed.
    pub(super) fn stage(&self, name: &str) -> Result<PathBuf, FetchError> {
        let path = self.path(STAGING).join(name);
        fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(path)
    }

    /// Moves a staged folder to its place.
    pub(super) fn place(&self, staged: &Path, name: &str) -> Result<(), FetchError> {
        let path = self.path(name);
        fs::rename(staged, &path).map_err(failed(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed(&path))
    }

    /// Removes the staging folder at the end.
    pub(super) fn unstage(&self) -> Result<(), FetchError> {
        self.remove(STAGING)
    }

    /// Opens a folder of the volume.
    pub(super) fn open(&self, name: &str) -> Result<Dir, FetchError> {
        let path = self.path(name);
        Dir::open(&path).map_err(failed(&path))
    }

    /// Copies the programs that the build zone runs, because Stack images hold none of Slipway's programs.
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
