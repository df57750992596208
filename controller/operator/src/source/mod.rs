//! What an App's source names now: a branch or tag → a commit, an image reference → a digest. Reads only.

pub mod git;
pub mod image;
pub mod schedule;

use std::sync::Arc;

use slipway_remotes::{registry::Registry, web::Web};

use crate::source::git::Git;

/// Clients of the servers that sources come from.
#[derive(Clone)]
pub struct Clients {
    /// Git servers.
    pub git: Git,
    /// Registries that tenants name.
    pub web: Web,
    /// The operator's own registry.
    pub registry: Arc<Registry>,
}
