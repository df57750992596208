//! What the end-to-end tests, the demo and the bench share: a cluster, a git server, Apps, and what they answer.

pub mod app;
pub mod audit;
pub mod case;
pub mod cluster;
pub mod dev;
pub mod diagnose;
pub mod docker;
pub mod fixtures;
pub mod git;
pub mod load;
pub mod operator;
pub mod registry;
pub mod status_lint;
pub mod wait;

use std::path::PathBuf;

/// The root folder of the repository.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
