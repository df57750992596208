//! What an archive may hold, and what has been unpacked of it so far.

use std::cell::Cell;

use crate::archive::extract::error::{ArchiveError, RATIO};

/// How many bytes may be unpacked before [`RATIO`] counts.
const RATIO_FROM: u64 = 256 * 1024 * 1024;

/// What an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most files, folders and links.
    pub entries: u64,
    /// Most bytes of files.
    pub bytes: u64,
}

/// What has been unpacked so far.
pub(super) struct Unpacked<'a> {
    limits: Limits,
    entries: u64,
    bytes: u64,
    /// How many packed bytes have been read, where the archive is packed.
    packed: Option<&'a Cell<u64>>,
}

impl<'a> Unpacked<'a> {
    pub(super) fn new(limits: Limits, packed: Option<&'a Cell<u64>>) -> Self {
        Self {
            limits,
            entries: 0,
            bytes: 0,
            packed,
        }
    }

    /// Counts an entry before it is unpacked.
    pub(super) fn add_entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::TooMuch {
                limit: self.limits.entries,
                what: "files",
            });
        }
        Ok(())
    }

    /// How many more bytes of files may be unpacked.
    pub(super) fn left(&self) -> u64 {
        self.limits.bytes - self.bytes
    }

    /// Counts the bytes of a file.
    pub(super) fn add_bytes(&mut self, size: u64) -> Result<(), ArchiveError> {
        if size > self.left() {
            return Err(ArchiveError::TooMuch {
                limit: self.limits.bytes,
                what: "bytes",
            });
        }
        self.bytes += size;
        let bomb =
            |packed: &Cell<u64>| self.bytes > RATIO_FROM && self.bytes / RATIO > packed.get();
        if self.packed.is_some_and(bomb) {
            return Err(ArchiveError::Bomb);
        }
        Ok(())
    }

    /// How many bytes the files have together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
