//! Writes a tree to a gzipped tar in an unnamed file, and computes its digests.

use slipway_remotes::registry::Content;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::FileType;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::archive::Dir;

/// How many folders deep a tree may be.
const DEEPEST: usize = 256;
/// Most paths of left-out entries that are kept.
const NAMED: usize = 5;
/// A fast level: the registry is near, and a user waits.
const LEVEL: Compression = Compression::new(3);

/// The owner of every entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub user: u64,
    /// Group.
    pub group: u64,
}

/// How mode bits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modes {
    /// 0755 for folders and for files that their owner may execute, 0644 for all other files.
    Normal,
    /// As in the tree, without setuid, setgid and sticky bits.
    Kept,
}

/// How a tree is written.
#[derive(Clone, Copy, Debug)]
pub struct TreeOptions {
    /// Owner of every entry.
    pub owner: Owner,
    /// Time of every entry, in Unix seconds.
    pub time: u64,
    /// Mode bits.
    pub modes: Modes,
    /// Most bytes of files.
    pub max_bytes: u64,
    /// Most entries.
    pub max_entries: u64,
}

/// Why a tree was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something cannot be read.
    #[error("cannot read {path:?}: {error}")]
    Read {
        /// The path.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// The tree holds too much.
    #[error("{what} more than the {limit} that are allowed")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Folders are nested too deep.
    #[error("{0:?} lies more than {DEEPEST} folders deep")]
    TooDeep(PathBuf),
    /// The temporary file.
    #[error("cannot write a temporary file: {0}")]
    Io(#[from] io::Error),
}

/// A finished archive.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its bytes; `None` if the registry is known to have them.
    pub file: Option<Arc<File>>,
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// `sha256:…` of the uncompressed tar.
    pub diff_id: String,
    /// In bytes.
    pub size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// Pipes, sockets and devices that were left out.
    pub left_out: LeftOut,
}

impl From<&Blob> for Content {
    fn from(blob: &Blob) -> Self {
        let (digest, size) = (blob.digest.clone(), blob.size);
        match blob.file.clone() {
            Some(file) => Self::File { file, digest, size },
            None => Self::Stored { digest, size },
        }
    }
}

/// An archive that the registry already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

/// Archives that the registry already has, by the `sha256:…` of their uncompressed tar.
pub type Known = BTreeMap<String, Stored>;

/// Entries of a tree that are in no archive: the first paths and the number of all. A hostile build could have made
/// millions.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// The first paths.
    pub first: Vec<PathBuf>,
    /// The number of all.
    pub count: u64,
}

impl LeftOut {
    fn add(&mut self, path: PathBuf) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path);
        }
    }
}

/// How much of a shared limit several archives have used together.
#[derive(Debug, Default)]
pub struct Used {
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// Counts and hashes the bytes that pass through.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> (W, String, u64) {
        let digest = format!("sha256:{}", hex::encode(self.hash.finalize()));
        (self.inner, digest, self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buf)?;
        self.hash.update(buf.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes entries of an archive.
pub struct Writer<'a> {
    builder: Builder<Hashed<&'a mut dyn Write>>,
    options: TreeOptions,
    used: Arc<Used>,
    entries: u64,
    left_out: LeftOut,
}

/// What the archive holds.
#[derive(Default)]
struct Contents {
    diff_id: String,
    entries: u64,
    left_out: LeftOut,
}

/// Makes an archive; `fill` writes its entries.
pub fn write_blob(
    options: TreeOptions,
    fill: impl Fn(&mut Writer<'_>) -> Result<(), WriteError>,
) -> Result<Blob, WriteError> {
    packed(|target| write(options, Arc::default(), target, &fill))
}

/// Like `write_blob`, but several archives share the limits through `used`, and an archive in `known` is not compressed
/// again: to read and hash it is several times faster. Calls `fill` once or twice.
pub fn write_blob_unless(
    known: &Known,
    options: TreeOptions,
    used: Arc<Used>,
    fill: impl Fn(&mut Writer<'_>) -> Result<(), WriteError>,
) -> Result<Blob, WriteError> {
    if known.is_empty() {
        return packed(|target| write(options, used, target, &fill));
    }
    let contents = write(options, used, &mut io::sink(), &fill)?;
    match known.get(&contents.diff_id).cloned() {
        Some(stored) => Ok(blob(None, stored, contents)),
        // The first pass has already counted this archive against the limits.
        None => packed(|target| write(options, Arc::default(), target, &fill)),
    }
}

/// Compresses a finished tar archive.
pub fn compress(mut archive: impl Read) -> Result<Blob, WriteError> {
    packed(|target| {
        let mut plain = Hashed::new(target);
        io::copy(&mut archive, &mut plain)?;
        let (_, diff_id, _) = plain.finish();
        Ok(Contents {
            diff_id,
            ..Contents::default()
        })
    })
}

fn packed(
    write: impl FnOnce(&mut dyn Write) -> Result<Contents, WriteError>,
) -> Result<Blob, WriteError> {
    let target = BufWriter::with_capacity(256 * 1024, tempfile::tempfile()?);
    let mut gzip = GzEncoder::new(Hashed::new(target), LEVEL);
    let contents = write(&mut gzip)?;
    let (buffer, digest, size) = gzip.finish()?.finish();
    let file = buffer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    let stored = Stored { digest, size };
    Ok(blob(Some(Arc::new(file)), stored, contents))
}

fn write(
    options: TreeOptions,
    used: Arc<Used>,
    target: &mut dyn Write,
    fill: &dyn Fn(&mut Writer<'_>) -> Result<(), WriteError>,
) -> Result<Contents, WriteError> {
    let mut writer = Writer {
        builder: Builder::new(Hashed::new(target)),
        options,
        used,
        entries: 0,
        left_out: LeftOut::default(),
    };
    fill(&mut writer)?;
    let (_, diff_id, _) = writer.builder.into_inner()?.finish();
    Ok(Contents {
        diff_id,
        entries: writer.entries,
        left_out: writer.left_out,
    })
}

fn blob(file: Option<Arc<File>>, stored: Stored, contents: Contents) -> Blob {
    let Stored { digest, size } = stored;
    let Contents {
        diff_id,
        entries,
        left_out,
    } = contents;
    Blob {
        file,
        digest,
        diff_id,
        size,
        entries,
        left_out,
    }
}

impl Writer<'_> {
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

/// Yields exactly as many bytes as the header promised: a file that shrinks meanwhile would shift all later entries.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let count = self.inner.read(buf.get_mut(..most).unwrap_or_default())?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Seek, SeekFrom},
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
        sync::Arc,
    };

    use super::{
        Blob, Known, Modes, Owner, Stored, TreeOptions, WriteError, write_blob, write_blob_unless,
    };
    use crate::archive::{Dir, Limits, extract_gzip};

    const OPTIONS: TreeOptions = TreeOptions {
        owner: Owner { user: 7, group: 8 },
        time: 42,
        modes: Modes::Kept,
        max_bytes: 1 << 20,
        max_entries: 1000,
    };

    fn blob(root: &Path, options: TreeOptions) -> Result<Blob, WriteError> {
        let dir = Dir::open(root).unwrap();
        write_blob(options, |writer| {
            writer.tree(&dir, Path::new("app"), &|name| name == "skipped")
        })
    }

    fn fill(root: &Path, order: &[usize]) {
        let long = "long-".repeat(40);
        for index in order {
            match index {
                0 => fs::write(root.join("b"), "bb").unwrap(),
                1 => fs::create_dir_all(root.join("a/deep")).unwrap(),
                2 => symlink("/etc/passwd", root.join("link")).unwrap(),
                3 => fs::write(root.join(&long), "x").unwrap(),
                _ => fs::write(root.join("skipped"), "x").unwrap(),
            }
        }
        fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::write(root.join("a/deep/file"), vec![b'z'; 5000]).unwrap();
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes_whenever_it_was_written() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(one.path(), &[0, 1, 2, 3, 4]);
        fill(two.path(), &[4, 3, 2, 1, 0]);
        let (one, two) = (
            blob(one.path(), OPTIONS).unwrap(),
            blob(two.path(), OPTIONS).unwrap(),
        );
        assert_eq!(
            (&one.digest, &one.diff_id, one.size),
            (&two.digest, &two.diff_id, two.size)
        );
        assert_eq!(one.entries, 6);
    }

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), &[0, 1, 2, 3]);
        let blob = blob(root.path(), OPTIONS).unwrap();
        let mut file = blob.file.unwrap().try_clone().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let back = tempfile::tempdir().unwrap();
        extract_gzip(
            file,
            &Dir::open(back.path()).unwrap(),
            Limits {
                entries: 100,
                bytes: 1 << 20,
            },
        )
        .unwrap();
        let at = |path: &str| back.path().join("app").join(path);
        assert_eq!(fs::read(at("a/deep/file")).unwrap().len(), 5000);
        assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(
            at("b").metadata().unwrap().permissions().mode() & 0o7777,
            0o750
        );
    }

    #[test]
    fn pipes_are_left_out_and_the_first_are_named() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..8 {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.path().join(format!("pipe{n}")),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap();
        }
        let left_out = blob(root.path(), OPTIONS).unwrap().left_out;
        assert_eq!((left_out.count, left_out.first.len()), (8, 5));
        assert_eq!(left_out.first[0], Path::new("app/pipe0"));
        // Left-out entries count, too, because they were read.
        let few = TreeOptions {
            max_entries: 7,
            ..OPTIONS
        };
        assert!(matches!(
            blob(root.path(), few),
            Err(WriteError::TooMuch { .. })
        ));
    }

    #[test]
    fn what_is_known_is_not_packed_again() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), &[0, 1]);
        let unless = |known: &Known| {
            let dir = Dir::open(root.path()).unwrap();
            // The limit is exactly the size of the tree: the tree is read twice but counts once.
            let options = TreeOptions {
                max_bytes: 5002,
                ..OPTIONS
            };
            write_blob_unless(known, options, Arc::default(), |writer| {
                writer.tree(&dir, Path::new("app"), &|_| false)
            })
            .unwrap()
        };
        let first = unless(&Known::new());
        let stored = |of: &Blob| Stored {
            digest: of.digest.clone(),
            size: of.size,
        };
        let known = Known::from([(first.diff_id.clone(), stored(&first))]);
        let again = unless(&known);
        assert!(first.file.is_some() && again.file.is_none());
        assert_eq!(
            (stored(&again), again.entries),
            (stored(&first), first.entries)
        );
        fs::write(root.path().join("b"), "cc").unwrap();
        let other = unless(&known);
        assert!(other.file.is_some() && other.diff_id != first.diff_id);
    }

    #[test]
    fn archives_of_one_image_share_its_limits() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), vec![b'z'; 600]).unwrap();
        for options in [
            TreeOptions {
                max_bytes: 1000,
                ..OPTIONS
            },
            TreeOptions {
                max_entries: 1,
                ..OPTIONS
            },
        ] {
            let used = Arc::default();
            let write = || {
                write_blob_unless(&Known::new(), options, Arc::clone(&used), |writer| {
                    writer.tree(&Dir::open(root.path()).unwrap(), Path::new("app"), &|_| {
                        false
                    })
                })
            };
            write().unwrap();
            assert!(matches!(write(), Err(WriteError::TooMuch { .. })));
        }
    }

    #[test]
    fn too_much_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), &[0, 1]);
        let few = TreeOptions {
            max_entries: 2,
            ..OPTIONS
        };
        assert!(matches!(
            blob(root.path(), few),
            Err(WriteError::TooMuch { .. })
        ));
        let small = TreeOptions {
            max_bytes: 100,
            ..OPTIONS
        };
        assert!(matches!(
            blob(root.path(), small),
            Err(WriteError::TooMuch { .. })
        ));
        let deep: std::path::PathBuf = std::iter::repeat_n("d", 300).collect();
        fs::create_dir_all(root.path().join(deep)).unwrap();
        assert!(matches!(
            blob(root.path(), OPTIONS),
            Err(WriteError::TooDeep(_))
        ));
    }
}
