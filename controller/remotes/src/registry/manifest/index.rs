//! An image index → the image for this machine's platform, and the platforms that it names.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use crate::registry::manifest::{Platform, each::each};

/// Most platforms that a message names.
const PLATFORMS: usize = 8;

/// An image index: one image for each platform. Only the parts below are kept, however many entries there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(in crate::registry) struct Index {
    manifests: Entries,
}

/// The parts of an index' entries that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    /// Digest of the first image for this machine's platform.
    ours: Option<String>,
    /// The first [`PLATFORMS`] platforms with a name.
    platforms: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

impl Index {
    /// Digest of the image for this machine's platform.
    pub(in crate::registry) fn ours(&self) -> Option<&str> {
        self.manifests.ours.as_deref()
    }

    /// The platforms of the index, as text.
    pub(in crate::registry) fn platforms(&self) -> String {
        let named = &self.manifests.platforms;
        if named.is_empty() {
            return "no platform that it names".to_owned();
        }
        named.iter().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl Entries {
    fn add(&mut self, entry: Entry) {
        let Some(platform) = entry.platform else {
            return;
        };
        if self.ours.is_none() && platform == Platform::ours() {
            self.ours = Some(entry.digest);
        }
        // Attestations and signatures are listed with the platform "unknown".
        if self.platforms.len() < PLATFORMS && platform.os != "unknown" {
            self.platforms.insert(platform.to_string());
        }
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = Self::default();
        deserializer.deserialize_seq(each(|entry| entries.add(entry)))?;
        Ok(entries)
    }
}
