//! Trees ↔ tar archives, where neither is trusted.
//!
//! Extraction never leaves its folder and never writes through a link; writing never follows one. The same tree
//! gives the same bytes: entries are sorted, owner and time are given, and nothing else of the machine is in them.

mod dir;
mod extract;
mod write;

pub use dir::Dir;
pub use extract::{ArchiveError, Limits, extract, extract_gzip};
pub use write::{
    Blob, Known, LeftOut, Modes, Owner, Stored, TreeOptions, Used, WriteError, Writer, compress,
    write_blob, write_blob_unless,
};
