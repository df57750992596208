//! What makes the frames of a zone's report credible ([`crate::zone::frame`]).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A word that only the operator and the zone's program know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(String);

impl Mark {
    /// From a word that nobody can guess, of at most 64 letters and digits.
    pub const fn new(word: String) -> Self {
        Self(word)
    }

    pub(crate) const fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
