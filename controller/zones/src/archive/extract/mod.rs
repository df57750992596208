//! Unpacks an untrusted tar archive into a folder and nowhere else.
//!
//! Refused: absolute names, names that go up, devices and pipes, hard links out of the folder, entries that would be
//! written through a symbolic link, and more entries or bytes than allowed. Symbolic links are kept as they are; code
//! that reads the tree must not follow them out of it. Owners, times and setuid bits are dropped.

mod error;
mod limits;
mod target;

use std::{
    cell::Cell,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, fchmod};
use tar::{Archive, Entry, EntryType};

use crate::archive::Dir;
pub use error::ArchiveError;
use error::{failed, refused};
pub use limits::Limits;
use limits::Unpacked;
use target::Target;

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
    let mut target = Target::new(into);
    let mut unpacked = Unpacked::new(limits, packed);
    let mut archive = Archive::new(reader);
    for entry in archive.entries().map_err(ArchiveError::Damaged)? {
        let mut entry = entry.map_err(ArchiveError::Damaged)?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            continue;
        }
        unpacked.add_entry()?;
        let name = entry.path_bytes().into_owned();
        let Some(path) = relative(&name)? else {
            continue;
        };
        match kind {
            EntryType::Directory => target.folder(&path)?,
            EntryType::Symlink => {
                target.symlink(&path, OsStr::from_bytes(&linked(&entry, &name)?))?;
            }
            EntryType::Link => {
                let source = relative(&linked(&entry, &name)?)?
                    .ok_or_else(|| refused(&name, "is a hard link to a folder"))?;
                target.hard_link(&path, &source)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                unpack_file(&mut entry, &path, &mut target, &mut unpacked)?;
            }
            _ => return Err(refused(&name, "is a device, a pipe or something unknown")),
        }
    }
    Ok(unpacked.bytes())
}

/// What the entry is a link to.
fn linked(entry: &Entry<'_, impl Read>, name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let link = entry.link_name_bytes().unwrap_or_default().into_owned();
    if link.is_empty() || link.contains(&0) {
        return Err(refused(name, "is a link to nothing"));
    }
    Ok(link)
}

fn unpack_file(
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
    target: &mut Target<'_>,
    unpacked: &mut Unpacked<'_>,
) -> Result<(), ArchiveError> {
    let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
    let mut file = target.file(path)?;
    let size = copy(entry, &mut file, unpacked.left(), path)?;
    unpacked.add_bytes(size)?;
    fchmod(&file, Mode::from_raw_mode(mode | 0o600)).map_err(|error| failed(path)(error.into()))
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

#[cfg(test)]
mod tests;
