//! The folder that an archive is unpacked to: files, folders and links are made in it and nowhere else.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, linkat, openat, symlinkat, unlinkat},
    io::Errno,
};

use crate::archive::Dir;
use crate::archive::extract::error::{ArchiveError, failed, refused};

/// The folder that entries go to. It keeps the last entry's parent open, because the next entry mostly has the same
/// one.
pub(super) struct Target<'a> {
    root: &'a Dir,
    parent: Option<(PathBuf, Dir)>,
}

impl<'a> Target<'a> {
    pub(super) fn new(root: &'a Dir) -> Self {
        Self { root, parent: None }
    }

    fn enter(&mut self, path: &Path) -> Result<(&Dir, OsString), ArchiveError> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(last, _)| last != parent) {
            let dir = self.make(parent, path)?;
            self.parent = Some((parent.to_owned(), dir));
        }
        let dir = self.parent.as_ref().map_or(self.root, |(_, dir)| dir);
        Ok((dir, name))
    }

    fn make(&self, dir: &Path, of: &Path) -> Result<Dir, ArchiveError> {
        self.root.make(dir).map_err(|error| {
            // A link in the path gives one of these errors, depending on its target.
            let code = error.raw_os_error();
            if [Errno::NOTDIR, Errno::LOOP]
                .map(|e| Some(e.raw_os_error()))
                .contains(&code)
            {
                refused(
                    of.as_os_str().as_bytes(),
                    "would be written through a link or a file",
                )
            } else {
                failed(of)(error)
            }
        })
    }

    pub(super) fn folder(&mut self, path: &Path) -> Result<(), ArchiveError> {
        // The archive's mode is ignored: a folder without execute permission could be neither filled nor removed.
        self.make(path, path).map(drop)
    }

    pub(super) fn file(&mut self, path: &Path) -> Result<File, ArchiveError> {
        let (dir, name) = self.enter(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(dir.fd(), &name, flags, Mode::from_raw_mode(0o600));
        match open() {
            Err(Errno::EXIST) => {
                make_room(dir, &name, path)?;
                open()
            }
            other => other,
        }
        .map(File::from)
        .map_err(|error| failed(path)(error.into()))
    }

    pub(super) fn symlink(&mut self, path: &Path, target: &OsStr) -> Result<(), ArchiveError> {
        let (dir, name) = self.enter(path)?;
        match symlinkat(target, dir.fd(), &name) {
            Err(Errno::EXIST) => {
                make_room(dir, &name, path)?;
                symlinkat(target, dir.fd(), &name)
            }
            other => other,
        }
        .map_err(|error| failed(path)(error.into()))
    }

    pub(super) fn hard_link(&mut self, path: &Path, source: &Path) -> Result<(), ArchiveError> {
        let why = "is a hard link to what is not in the archive";
        let refuse = || refused(path.as_os_str().as_bytes(), why);
        let source_name = source.file_name().ok_or_else(refuse)?.to_owned();
        let source_dir = self
            .root
            .beneath(source.parent().unwrap_or(Path::new("")))
            .map_err(|_| refuse())?;
        if source_dir.kind(&source_name).map_err(|_| refuse())? != FileType::RegularFile {
            return Err(refuse());
        }
        let (dir, name) = self.enter(path)?;
        let link = || {
            linkat(
                source_dir.fd(),
                &source_name,
                dir.fd(),
                &name,
                AtFlags::empty(),
            )
        };
        match link() {
            Err(Errno::EXIST) => {
                make_room(dir, &name, path)?;
                link()
            }
            other => other,
        }
        .map_err(|error| failed(path)(error.into()))
    }
}

/// Removes an earlier entry of the same name, so that the later one wins. If the earlier one is a folder, that is an
/// error.
fn make_room(dir: &Dir, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
    unlinkat(dir.fd(), name, AtFlags::empty()).map_err(|error| failed(path)(error.into()))
}
