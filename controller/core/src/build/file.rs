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
