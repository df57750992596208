//! Decides which Revisions, Builds and Releases to make, and why, and which records to delete, by chains of small named rules over
//! plain data. Pure: no client, no clock.

pub mod build;
pub mod chain;
pub mod release;
pub mod retire;
pub mod revision;
