//! Writes a tree to a gzipped tar in an unnamed file, and computes its digests.

mod blob;
mod options;
mod stream;
mod writer;

use std::{
    io::{self, BufWriter, Read, Write},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};

use blob::Contents;
pub use blob::{Blob, Known, LeftOut, Stored};
pub use options::{Modes, Owner, TreeOptions, Used, WriteError};
use stream::Hashed;
pub use writer::Writer;

/// A fast level: the registry is near, and a user waits.
const LEVEL: Compression = Compression::new(3);

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
        Some(stored) => Ok(contents.blob(None, stored)),
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
    Ok(contents.blob(Some(Arc::new(file)), stored))
}

fn write(
    options: TreeOptions,
    used: Arc<Used>,
    target: &mut dyn Write,
    fill: &dyn Fn(&mut Writer<'_>) -> Result<(), WriteError>,
) -> Result<Contents, WriteError> {
    let mut writer = Writer::new(target, options, used);
    fill(&mut writer)?;
    writer.finish()
}

#[cfg(test)]
mod tests;
