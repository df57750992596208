//! Why an archive is not unpacked.

use std::{io, path::Path};

/// Most bytes that one packed byte may unpack to, above [`RATIO_FROM`].
pub(super) const RATIO: u64 = 500;

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

pub(super) fn refused(name: &[u8], why: &'static str) -> ArchiveError {
    ArchiveError::Refused {
        name: String::from_utf8_lossy(name).chars().take(200).collect(),
        why,
    }
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let name = path.display().to_string();
    move |error| ArchiveError::Write { name, error }
}
