//! Unpacks tar archives into trees and writes trees to tar archives. Neither side is trusted.
//!
//! Extraction never leaves its folder and never writes through a link; writing never follows one. The same tree always
//! gives the same bytes: entries are sorted, the caller sets owner and time, and the archive holds nothing else of the
//! machine.

mod dir;
mod extract;
mod write;

pub use dir::Dir;
pub use extract::{ArchiveError, Limits, extract, extract_gzip};
pub use write::{
    Blob, Known, LeftOut, Modes, Owner, Stored, TreeOptions, Used, WriteError, Writer, compress,
    write_blob, write_blob_unless,
};
