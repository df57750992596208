//! Folders, files and whole trees → entries of a tar archive, counted against the limits before they are written.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use rustix::fs::FileType;
use tar::{Builder, EntryType, Header};

use crate::archive::Dir;
use crate::archive::write::{
    blob::{Contents, LeftOut},
    options::{DEEPEST, Modes, TreeOptions, Used, WriteError},
    stream::{Exact, Hashed},
};

/// Writes entries of an archive.
pub struct Writer<'a> {
    builder: Builder<Hashed<&'a mut dyn Write>>,
    options: TreeOptions,
    used: Arc<Used>,
    entries: u64,
    left_out: LeftOut,
}

impl<'a> Writer<'a> {
    pub(super) fn new(target: &'a mut dyn Write, options: TreeOptions, used: Arc<Used>) -> Self {
        Self {
            builder: Builder::new(Hashed::new(target)),
            options,
            used,
            entries: 0,
            left_out: LeftOut::default(),
        }
    }

    /// Ends the archive. Returns what it holds.
    pub(super) fn finish(self) -> Result<Contents, WriteError> {
        let (_, diff_id, _) = self.builder.into_inner()?.finish();
        Ok(Contents {
            diff_id,
            entries: self.entries,
            left_out: self.left_out,
        })
    }

    /// Counts entries against the limit before they are written.
    fn count(&self, entries: usize) -> Result<(), WriteError> {
        let entries = entries as u64;
        let before = self.used.entries.fetch_add(entries, Ordering::Relaxed);
        if before.saturating_add(entries) > self.options.max_entries {
            return Err(WriteError::TooMuch {
                what: "the tree has files",
                limit: self.options.max_entries,
            });
        }
        Ok(())
    }

    fn count_bytes(&self, bytes: u64) -> Result<(), WriteError> {
        let before = self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.options.max_bytes {
            return Err(WriteError::TooMuch {
                what: "the tree has bytes",
                limit: self.options.max_bytes,
            });
        }
        Ok(())
    }

    /// The names in a folder. They stay in memory while the folder is open, so they are counted for all open folders
    /// together. At most one name more than the limit allows is read.
    fn names(&self, dir: &Dir, path: &Path) -> Result<Vec<OsString>, WriteError> {
        let used = self.used.entries.load(Ordering::Relaxed);
        let left = self.options.max_entries.saturating_sub(used);
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let names = dir.names(most).map_err(|error| WriteError::Read {
            path: path.to_owned(),
            error,
        })?;
        self.count(names.len())?;
        Ok(names)
    }

    fn header(&mut self, kind: EntryType, mode: u32, size: u64) -> Header {
        self.entries += 1;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(self.options.owner.user);
        header.set_gid(self.options.owner.group);
        header.set_mtime(self.options.time);
        header
    }

    /// Writes a folder that is not in the tree.
    pub fn folder(&mut self, path: &Path, mode: u32) -> Result<(), WriteError> {
        self.count(1)?;
        self.put_folder(path, mode)
    }

    fn put_folder(&mut self, path: &Path, mode: u32) -> Result<(), WriteError> {
        let mut header = self.header(EntryType::Directory, mode, 0);
        self.builder.append_data(&mut header, path, io::empty())?;
        Ok(())
    }

    /// Writes a file that is not in the tree.
    pub fn file(&mut self, path: &Path, mode: u32, mut file: &File) -> Result<(), WriteError> {
        self.count(1)?;
        let size = file.metadata()?.len();
        let mut header = self.header(EntryType::Regular, mode, size);
        let content = Exact {
            inner: &mut file,
            left: size,
        };
        self.builder.append_data(&mut header, path, content)?;
        Ok(())
    }

    /// Writes everything in a folder below `prefix`, sorted by name. `skip` decides which names directly in that folder
    /// are left out.
    pub fn tree(
        &mut self,
        dir: &Dir,
        prefix: &Path,
        skip: &dyn Fn(&OsStr) -> bool,
    ) -> Result<(), WriteError> {
        self.walk(dir, prefix, 0, skip)
    }

    fn walk(
        &mut self,
        dir: &Dir,
        prefix: &Path,
        depth: usize,
        skip: &dyn Fn(&OsStr) -> bool,
    ) -> Result<(), WriteError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |error| WriteError::Read { path, error }
        };
        if depth > DEEPEST {
            return Err(WriteError::TooDeep(prefix.to_owned()));
        }
        for name in self.names(dir, prefix)? {
            if depth == 0 && skip(&name) {
                continue;
            }
            let path = prefix.join(&name);
            let stat = dir.stat(&name).map_err(read(&path))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let child = dir.child(&name).map_err(read(&path))?;
                    let mode = self.mode(stat.st_mode, true);
                    self.put_folder(&path, mode)?;
                    self.walk(&child, &path, depth + 1, skip)?;
                }
                FileType::RegularFile => {
                    let (mut file, stat) = dir.child_file(&name).map_err(read(&path))?;
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    self.count_bytes(size)?;
                    let mode = self.mode(stat.st_mode, false);
                    let mut header = self.header(EntryType::Regular, mode, size);
                    let content = Exact {
                        inner: &mut file,
                        left: size,
                    };
                    self.builder
                        .append_data(&mut header, &path, content)
                        .map_err(read(&path))?;
                }
                FileType::Symlink => {
                    let target = dir.link_target(&name).map_err(read(&path))?;
                    let mut header = self.header(EntryType::Symlink, 0o777, 0);
                    self.builder
                        .append_link(&mut header, &path, &target)
                        .map_err(read(&path))?;
                }
                _ => self.left_out.add(path),
            }
        }
        Ok(())
    }

    fn mode(&self, mode: u32, folder: bool) -> u32 {
        match self.options.modes {
            Modes::Kept => mode & 0o777,
            Modes::Normal if folder || mode & 0o100 != 0 => 0o755,
            Modes::Normal => 0o644,
        }
    }
}
