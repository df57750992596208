//! The three trust zones of a build, and what they hand to each other.
//!
//! ```text
//! fetch (credentials) ──volume──▶ build (runs buildpacks, no credentials) ──volume──▶ export (credentials, runs nothing)
//! ```
//!
//! Beside the build zone, `egress` is its only way out. Each zone is one process in one container: it reads its input once, writes its report once, and speaks to people
//! on standard output. Whatever comes out of the build zone may be a lie; export and operator read it as such.

pub mod input;
pub mod layout;
pub mod report;

use serde::{Deserialize, Serialize};

/// A trust zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// Brings in source, packs and cache. Has the credentials of the git server and the registry.
    Fetch,
    /// Runs buildpacks. Has no credentials.
    Build,
    /// Writes image and cache. Has the registry's credentials, and runs nothing that it finds.
    Export,
}

impl Zone {
    /// In the order in which they run.
    pub const ALL: [Self; 3] = [Self::Fetch, Self::Build, Self::Export];

    /// As in container names and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Export => "export",
        }
    }
}
