//! Manifests and configs of images and artifacts: bytes ↔ plain data. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use sha2::{Digest, Sha256};

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a Docker image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Media type of an OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a gzipped layer.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of an empty config, as artifacts have it.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// All media types that are accepted in answer to a request for a manifest.
pub(super) const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A blob as manifests describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Platform of an entry in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// The platform of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// For example `amd64`.
    pub architecture: String,
    /// For example `linux`.
    pub os: String,
}

/// Most platforms that a message names.
const PLATFORMS: usize = 8;

/// An image manifest; artifacts use the same format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u8,
    /// [`OCI_MANIFEST`] in manifests that Slipway writes.
    #[serde(default)]
    pub media_type: String,
    /// Type of an artifact. Registries older than OCI 1.1 store it without reading it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index: one image for each platform. Only the parts below are kept, however many entries there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Index {
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

impl Platform {
    /// Linux on this machine's processor: the operator runs on the same platform as Apps.
    pub(super) fn ours() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

impl Index {
    /// Digest of the image for this machine's platform.
    pub(super) fn ours(&self) -> Option<&str> {
        self.manifests.ours.as_deref()
    }

    /// The platforms of the index, as text.
    pub(super) fn platforms(&self) -> String {
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

/// A manifest in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Its parsed content.
    pub image: ImageManifest,
}

/// The part of an image's manifest that names its config.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct OfImage {
    pub(super) config: Blob,
}

/// A blob, without what else a manifest says about it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Blob {
    pub(super) digest: String,
    pub(super) size: u64,
}

/// The parts of an image's config that the operator uses. The rest is skipped and takes no memory, however long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `User`.
    pub user: String,
    /// TCP ports of `ExposedPorts`, at most [`PORTS`].
    #[serde(rename = "ExposedPorts", deserialize_with = "tcp_ports")]
    pub ports: BTreeSet<u16>,
    /// `PORT` of `Env`.
    #[serde(rename = "Env", deserialize_with = "port_in")]
    pub port: Option<u16>,
    /// Whether there is an `Entrypoint`.
    #[serde(deserialize_with = "is_there")]
    pub entrypoint: bool,
}

/// Most exposed ports that are kept.
pub const PORTS: usize = 16;

/// The parts of an image's config file that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) config: RunConfig,
}

impl ConfigFile {
    /// The image's platform, if its config names one.
    pub(super) fn platform(&self) -> Option<Platform> {
        (!self.os.is_empty() && !self.architecture.is_empty()).then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
        })
    }
}

/// A Docker Engine writes `null` for empty values.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The TCP ports among the names in an object: `8080/tcp` and `8080`.
fn tcp_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<u16>, D::Error> {
    let mut ports = BTreeSet::new();
    let add = |name: String| {
        let (number, protocol) = name.split_once('/').unwrap_or((&name, "tcp"));
        if let Some(port) = port(number).filter(|_| protocol == "tcp") {
            ports.insert(port);
        }
        if ports.len() > PORTS {
            ports.pop_last();
        }
    };
    deserializer.deserialize_any(each(add))?;
    Ok(ports)
}

/// The last `PORT=` is used, as in a container.
fn port_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let mut found = None;
    let look = |variable: String| {
        if let Some(number) = variable.strip_prefix("PORT=") {
            found = port(number);
        }
    };
    deserializer.deserialize_any(each(look))?;
    Ok(found)
}

fn port(number: &str) -> Option<u16> {
    number.parse().ok().filter(|port| *port > 0)
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let mut any = false;
    deserializer.deserialize_any(each(|_: IgnoredAny| any = true))?;
    Ok(any)
}

/// Visits each entry of a list, or each name in an object, and keeps none of them. `null` has no entries.
struct Each<T, F: FnMut(T)>(F, PhantomData<T>);

fn each<T, F: FnMut(T)>(look: F) -> Each<T, F> {
    Each(look, PhantomData)
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element()? {
            (self.0)(entry);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            (self.0)(name);
        }
        Ok(())
    }
}

/// Whether a text is a digest as registries write it. Only SHA-256 is supported.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// Whether a text is safe as a repository or tag in a registry's URL: it cannot lead to another path.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    text.len() <= 512
        && text
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.chars().all(plain))
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests;
