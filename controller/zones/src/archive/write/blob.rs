//! A finished archive, and how the registry is given it.

use std::{collections::BTreeMap, fs::File, path::PathBuf, sync::Arc};

use slipway_remotes::registry::Content;

/// Most paths of left-out entries that are kept.
const NAMED: usize = 5;

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
    pub(super) fn add(&mut self, path: PathBuf) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path);
        }
    }
}

/// What the archive holds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) diff_id: String,
    pub(super) entries: u64,
    pub(super) left_out: LeftOut,
}

impl Contents {
    /// The archive with these contents that is `stored`: in `file`, or in the registry.
    pub(super) fn blob(self, file: Option<Arc<File>>, stored: Stored) -> Blob {
        let Stored { digest, size } = stored;
        let Self {
            diff_id,
            entries,
            left_out,
        } = self;
        Blob {
            file,
            digest,
            diff_id,
            size,
            entries,
            left_out,
        }
    }
}
