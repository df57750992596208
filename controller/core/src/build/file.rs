//! A file of a plan.

use std::fmt;

/// A file put into a container before it starts, owned by the zone's user.
#[derive(Clone, PartialEq, Eq)]
pub struct PlanFile {
    /// Absolute path. The driver makes its folder, owned by the zone's user.
    pub path: String,
    /// Mode bits.
    pub mode: u32,
    /// Content. It may be secret.
    pub content: Vec<u8>,
}

impl PlanFile {
    /// Most bytes of a file's content. All values of a build's variables together may have more than 1 MiB, and JSON
    /// writes some characters longer than they are. A driver that hands files over in pieces of at most 1 MiB, as
    /// Kubernetes' Secrets are, needs no more than four of them for a file.
    pub const MAX_BYTES: usize = 4 * 1024 * 1024;
}

impl fmt::Debug for PlanFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:04o} [{} bytes]",
            self.path,
            self.mode,
            self.content.len()
        )
    }
}
