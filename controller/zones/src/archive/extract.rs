//! Unpacks an untrusted tar archive into a folder and nowhere else.
//!
//! Refused: absolute names, names that go up, devices and pipes, hard links out of the folder, entries that would be
//! written through a symbolic link, and more entries or bytes than allowed. Symbolic links are kept as they are; code
//! that reads the tree must not follow them out of it. Owners, times and setuid bits are dropped.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fchmod, linkat, openat, symlinkat, unlinkat},
    io::Errno,
};
use tar::{Archive, EntryType};

use crate::archive::Dir;

/// Most bytes that one packed byte may unpack to, above [`RATIO_FROM`].
const RATIO: u64 = 500;
const RATIO_FROM: u64 = 256 * 1024 * 1024;

/// What an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most files, folders and links.
    pub entries: u64,
    /// Most bytes of files.
    pub bytes: u64,
}

/// Why an archive was not unpacked, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An entry would touch what it must not.
    #[error("the archive's entry {name:?} {why}")]
    Refused {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The archive holds too much.
    #[error("the archive holds more than the {limit} {what} that are allowed")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// What there is too much of.
        what: &'static str,
    },
    /// It unpacks to far more bytes than it has.
    #[error("the archive unpacks to more than {RATIO} times its size: it is made to fill a disk")]
    Bomb,
    /// It cannot be read.
    #[error("the archive is damaged: {0}")]
    Damaged(io::Error),
    /// It cannot be written.
    #[error("cannot unpack {name:?}: {error}")]
    Write {
        /// What was written.
        name: String,
        /// Why not.
        error: io::Error,
    },
}

/// Unpacks a gzipped archive. Returns how many bytes of files it held.
pub fn extract_gzip(packed: impl Read, into: &Dir, limits: Limits) -> Result<u64, ArchiveError> {
    let count = Rc::new(Cell::new(0));
    let counted = Counted {
        inner: packed,
        count: Rc::clone(&count),
    };
    unpack(MultiGzDecoder::new(counted), into, limits, Some(&count))
}

/// Unpacks an archive. Returns how many bytes of files it held.
pub fn extract(archive: impl Read, into: &Dir, limits: Limits) -> Result<u64, ArchiveError> {
    unpack(archive, into, limits, None)
}

struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.count.set(self.count.get().saturating_add(read as u64));
        Ok(read)
    }
}

fn unpack(
    reader: impl Read,
    into: &Dir,
    limits: Limits,
    packed: Option<&Cell<u64>>,
) -> Result<u64, ArchiveError> {
    let mut target = Target {
        root: into,
        parent: None,
    };
    let mut archive = Archive::new(reader);
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    for entry in archive.entries().map_err(ArchiveError::Damaged)? {
        let mut entry = entry.map_err(ArchiveError::Damaged)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        entries += 1;
        if entries > limits.entries {
            return Err(ArchiveError::TooMuch {
                limit: limits.entries,
                what: "files",
            });
        }
        let name = entry.path_bytes().into_owned();
        let Some(path) = relative(&name)? else {
            continue;
        };
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        match kind {
            EntryType::Directory => target.folder(&path)?,
            EntryType::Symlink | EntryType::Link => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                if link.is_empty() || link.contains(&0) {
                    return Err(refused(&name, "is a link to nothing"));
                }
                if kind == EntryType::Symlink {
                    target.symlink(&path, OsStr::from_bytes(&link))?;
                } else {
                    let source = relative(&link)?
                        .ok_or_else(|| refused(&name, "is a hard link to a folder"))?;
                    target.hard_link(&path, &source)?;
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut file = target.file(&path)?;
                let left = limits.bytes - bytes;
                let size = copy(&mut entry, &mut file, left, &path)?;
                bytes += size;
                if size > left {
                    return Err(ArchiveError::TooMuch {
                        limit: limits.bytes,
                        what: "bytes",
                    });
                }
                fchmod(&file, Mode::from_raw_mode(mode | 0o600))
                    .map_err(|error| failed(&path)(error.into()))?;
                if packed.is_some_and(|packed| bytes > RATIO_FROM && bytes / RATIO > packed.get()) {
                    return Err(ArchiveError::Bomb);
                }
            }
            _ => return Err(refused(&name, "is a device, a pipe or something unknown")),
        }
    }
    Ok(bytes)
}

/// Copies at most one byte more than is left, so that the caller notices when there is too much.
fn copy(from: &mut impl Read, to: &mut File, left: u64, path: &Path) -> Result<u64, ArchiveError> {
    let mut from = from.take(left.saturating_add(1));
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0_u64;
    loop {
        let count = from.read(&mut buffer).map_err(ArchiveError::Damaged)?;
        if count == 0 {
            return Ok(size);
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .map_err(failed(path))?;
        size += count as u64;
    }
}

fn refused(name: &[u8], why: &'static str) -> ArchiveError {
    ArchiveError::Refused {
        name: String::from_utf8_lossy(name).chars().take(200).collect(),
        why,
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let name = path.display().to_string();
    move |error| ArchiveError::Write { name, error }
}

/// An entry's name as a path below the root; `None` is the root itself.
fn relative(name: &[u8]) -> Result<Option<PathBuf>, ArchiveError> {
    if name.contains(&0) {
        return Err(refused(name, "has a name with a NUL"));
    }
    if name.first() == Some(&b'/') {
        return Err(refused(name, "has an absolute name"));
    }
    let mut path = PathBuf::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refused(name, "has a name that leaves the archive")),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

/// The folder that entries go to. It keeps the last entry's parent open, because the next entry mostly has the same
/// one.
struct Target<'a> {
    root: &'a Dir,
    parent: Option<(PathBuf, Dir)>,
}

impl Target<'_> {
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

    fn folder(&mut self, path: &Path) -> Result<(), ArchiveError> {
        // The archive's mode is ignored: a folder without execute permission could be neither filled nor removed.
        self.make(path, path).map(drop)
    }

    fn file(&mut self, path: &Path) -> Result<File, ArchiveError> {
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

    fn symlink(&mut self, path: &Path, target: &OsStr) -> Result<(), ArchiveError> {
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

    fn hard_link(&mut self, path: &Path, source: &Path) -> Result<(), ArchiveError> {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use tar::{Builder, EntryType, Header};

    use super::{super::Dir, ArchiveError, Limits, extract, extract_gzip};

    const LIMITS: Limits = Limits {
        entries: 100,
        bytes: 1 << 20,
    };

    enum E<'a> {
        File(&'a str, &'a str, u32),
        Folder(&'a str, u32),
        Link(&'a str, &'a str),
        Hard(&'a str, &'a str),
        Special(&'a str, EntryType),
    }

    /// Writes names as they are: the tar library itself would refuse the bad ones.
    fn archive(entries: &[E<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for entry in entries {
            let mut header = Header::new_gnu();
            let raw = |header: &mut Header, name: &str| {
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            };
            let link = |header: &mut Header, name: &str| {
                header.as_old_mut().linkname[..name.len()].copy_from_slice(name.as_bytes());
            };
            let mut data: &[u8] = b"";
            header.set_mode(0o644);
            match entry {
                E::File(name, text, mode) => {
                    raw(&mut header, name);
                    header.set_mode(*mode);
                    data = text.as_bytes();
                }
                E::Folder(name, mode) => {
                    raw(&mut header, name);
                    header.set_mode(*mode);
                    header.set_entry_type(EntryType::Directory);
                }
                E::Link(name, target) => {
                    raw(&mut header, name);
                    link(&mut header, target);
                    header.set_entry_type(EntryType::Symlink);
                }
                E::Hard(name, target) => {
                    raw(&mut header, name);
                    link(&mut header, target);
                    header.set_entry_type(EntryType::Link);
                }
                E::Special(name, kind) => {
                    raw(&mut header, name);
                    header.set_entry_type(*kind);
                }
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn into(root: &Path, entries: &[E<'_>]) -> Result<u64, ArchiveError> {
        extract(&archive(entries)[..], &Dir::open(root).unwrap(), LIMITS)
    }

    #[test]
    fn a_tree_arrives_without_setuid_and_with_room_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let bytes = into(
            root,
            &[
                E::Folder("./", 0o755),
                E::Folder("ro/", 0o555),
                E::File("ro/run", "x", 0o6755),
                E::File("plain", "yy", 0o444),
                E::Link("abs", "/etc/passwd"),
                E::Hard("again", "plain"),
                E::File("plain2", "old", 0o644),
                E::File("plain2", "new", 0o644),
            ],
        )
        .unwrap();
        assert_eq!(bytes, 9);
        let mode = |name: &str| {
            root.join(name)
                .symlink_metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(
            (mode("ro"), mode("ro/run"), mode("plain")),
            (0o755, 0o755, 0o644)
        );
        assert_eq!(
            fs::read_link(root.join("abs")).unwrap(),
            Path::new("/etc/passwd")
        );
        assert_eq!(fs::read_to_string(root.join("again")).unwrap(), "yy");
        assert_eq!(fs::read_to_string(root.join("plain2")).unwrap(), "new");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "safe").unwrap();
        let out = outside.path().to_str().unwrap().to_owned();
        let up = format!(
            "../{}/victim",
            outside.path().file_name().unwrap().to_str().unwrap()
        );
        let absolute = format!("{out}/victim");
        let cases: Vec<Vec<E<'_>>> = vec![
            vec![E::File(&absolute, "bad", 0o644)],
            vec![E::File(&up, "bad", 0o644)],
            vec![E::File("a/../../x", "bad", 0o644)],
            vec![E::Link("link", &out), E::File("link/victim", "bad", 0o644)],
            vec![E::Link("link", &out), E::Folder("link/sub/", 0o755)],
            vec![E::Link("link", &out), E::Folder("link", 0o755)],
            vec![
                E::Link("a", "b"),
                E::Link("b", &out),
                E::File("a/victim", "bad", 0o644),
            ],
            vec![E::Link("link", &out), E::Hard("hard", "link/victim")],
            vec![E::Hard("hard", &absolute)],
            vec![E::Hard("hard", &up)],
            vec![E::Link("s", &absolute), E::Hard("hard", "s")],
            vec![E::Special("dev", EntryType::Char)],
            vec![E::Special("pipe", EntryType::Fifo)],
            vec![E::File("f", "x", 0o644), E::File("f/x", "bad", 0o644)],
        ];
        for (index, entries) in cases.iter().enumerate() {
            let root = tempfile::tempdir().unwrap();
            let error = into(root.path(), entries).unwrap_err();
            assert!(
                matches!(error, ArchiveError::Refused { .. }),
                "case {index}: {error}"
            );
            assert_eq!(
                fs::read_to_string(outside.path().join("victim")).unwrap(),
                "safe"
            );
            assert_eq!(
                fs::read_dir(outside.path()).unwrap().count(),
                1,
                "case {index}"
            );
        }
        // A file over a link replaces the link, not what it points at.
        let root = tempfile::tempdir().unwrap();
        into(
            root.path(),
            &[E::Link("x", &absolute), E::File("x", "mine", 0o644)],
        )
        .unwrap();
        assert_eq!(
            fs::read_to_string(outside.path().join("victim")).unwrap(),
            "safe"
        );
        assert_eq!(fs::read_to_string(root.path().join("x")).unwrap(), "mine");
    }

    #[test]
    fn too_much_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        let few = Limits {
            entries: 1,
            bytes: 3,
        };
        let two = archive(&[E::File("a", "x", 0o644), E::File("b", "y", 0o644)]);
        assert!(matches!(
            extract(&two[..], &dir, few),
            Err(ArchiveError::TooMuch { limit: 1, .. })
        ));
        let long = archive(&[E::File("c", "xxxx", 0o644)]);
        assert!(matches!(
            extract(&long[..], &dir, few),
            Err(ArchiveError::TooMuch { limit: 3, .. })
        ));
        assert!(matches!(
            extract(&long[..700], &dir, LIMITS),
            Ok(_) | Err(ArchiveError::Damaged(_))
        ));
        assert!(matches!(
            extract_gzip(&b"no gzip at all"[..], &dir, LIMITS),
            Err(ArchiveError::Damaged(_))
        ));
    }
}
