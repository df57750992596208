//! An open folder whose content is not trusted. Paths below it are opened part by part, never through a symbolic link.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2,
        readlinkat, statat,
    },
    io::Errno,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
// Opening a named pipe in the place of a file must not block.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Dir {
    /// Opens a folder by a path that the program itself chose.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a folder directly in this one; a symbolic link is an error.
    pub(super) fn child(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// Opens a folder below this one; a symbolic link anywhere on the path is an error.
    pub fn beneath(&self, path: &Path) -> io::Result<Self> {
        let mut dir = self.again()?;
        for name in parts(path)? {
            dir = dir.child(name)?;
        }
        Ok(dir)
    }

    /// Like `beneath`, but makes missing folders.
    pub(super) fn make(&self, path: &Path) -> io::Result<Self> {
        let mut dir = self.again()?;
        for name in parts(path)? {
            match mkdirat(&dir.0, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = dir.child(name)?;
        }
        Ok(dir)
    }

    fn again(&self) -> io::Result<Self> {
        self.child(OsStr::new("."))
    }

    /// Opens a file directly in this folder; a symbolic link, or anything else that is not a file, is an error.
    pub(super) fn child_file(&self, name: &OsStr) -> io::Result<(File, Stat)> {
        let fd = openat(&self.0, name, FILE | OFlags::NOFOLLOW, Mode::empty())?;
        regular(fd)
    }

    /// Opens a file below this folder; a symbolic link anywhere on the path is an error.
    pub fn file(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.beneath(path.parent().unwrap_or(Path::new("")))?;
        Ok(parent.child_file(name)?.0)
    }

    /// Reads a small file; `None` if there is none. Links are followed only as long as they stay below this folder.
    pub fn read_small(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = match openat2(&self.0, path, FILE, Mode::empty(), resolve) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::XDEV | Errno::LOOP) => {
                return Err(io::Error::other("it is a link that leaves the source"));
            }
            other => other?,
        };
        let (file, _) = regular(fd)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            let message = format!("it is larger than {} KiB", limit / 1024);
            return Err(io::Error::other(message));
        }
        Ok(Some(bytes))
    }

    /// At most `most` names in this folder, sorted.
    pub fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = vec![];
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            if names.len() >= most {
                break;
            }
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The type of the entry with this name, without following a link.
    pub fn kind(&self, name: &OsStr) -> io::Result<FileType> {
        Ok(FileType::from_raw_mode(self.stat(name)?.st_mode))
    }

    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = readlinkat(&self.0, name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

fn regular(fd: OwnedFd) -> io::Result<(File, Stat)> {
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    Ok((File::from(fd), stat))
}

/// The parts of a relative path. An absolute path, or one that goes up, is an error.
fn parts(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        })
        .collect()
}
