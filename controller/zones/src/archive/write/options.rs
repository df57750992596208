//! What the caller of an archive decides: owner, time, modes and limits. And the error of a tree that breaks a limit or
//! cannot be read.

use std::{io, path::PathBuf, sync::atomic::AtomicU64};

/// How many folders deep a tree may be.
pub(super) const DEEPEST: usize = 256;

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

/// How much of a shared limit several archives have used together.
#[derive(Debug, Default)]
pub struct Used {
    pub(super) bytes: AtomicU64,
    pub(super) entries: AtomicU64,
}
