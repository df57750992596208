//! The three trust zones of a build, and what they hand to each other.
//!
//! ```text
//! fetch (credentials) ──volume──▶ build (runs buildpacks, no credentials) ──volume──▶ export (credentials, runs nothing)
//! ```
//!
//! The build zone reaches the network only through a proxy, `egress`, in a container beside it. Each zone is one
//! process in one container: it reads its input once, logs to standard output, and writes its report there last
//! ([`frame`]). App code may have written whatever comes out of the build zone, so export and the operator do not trust
//! it.

pub mod frame;
pub mod input;
pub mod layout;
mod mark;
pub mod report;

use serde::{Deserialize, Serialize};

/// A trust zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// Brings source, packs and cache. Has the credentials of the git server and the registry.
    Fetch,
    /// Runs buildpacks. Has no credentials.
    Build,
    /// Pushes image and cache. Has the registry's credentials, and runs nothing that it finds on the volume.
    Export,
}

impl Zone {
    /// All zones in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Fetch, Self::Build, Self::Export];

    /// The zone's name in container names and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Export => "export",
        }
    }
}
