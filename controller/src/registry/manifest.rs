//! Manifests and configs of images and artifacts: bytes ↔ plain data. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
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

/// All that may stand where a manifest is asked for.
pub(super) const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];

/// A blob, as manifests speak of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of entries in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// For example `amd64`.
    pub architecture: String,
    /// For example `linux`.
    pub os: String,
}

/// Most platforms that a message names.
const PLATFORMS: usize = 8;
/// Longest name of a port, `65535/sctp`, and most of them that are kept.
const PORT: usize = 16;
const PORTS: usize = 1024;

/// An image manifest; artifacts are written as such, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// 2.
    pub schema_version: u8,
    /// [`OCI_MANIFEST`] in what we write.
    #[serde(default)]
    pub media_type: String,
    /// What an artifact is. Registries from before OCI 1.1 keep it without looking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several images, one a platform: the one for our machines, and what is told where there is none. However many a
/// stranger has named, no more of them is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Index {
    manifests: Chosen,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chosen {
    ours: Option<String>,
    platforms: Vec<Platform>,
}

/// An image of an index.
#[derive(Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

/// What is read of a stranger's image manifest: which blob its config is.
#[derive(Deserialize)]
pub(super) struct ConfigOf {
    pub(super) config: BlobOf,
}

#[derive(Deserialize)]
pub(super) struct BlobOf {
    digest: String,
    size: u64,
}

impl From<BlobOf> for Descriptor {
    fn from(BlobOf { digest, size }: BlobOf) -> Self {
        Self {
            digest,
            size,
            ..Self::default()
        }
    }
}

impl Platform {
    /// Linux on this machine's processor: the operator runs where Apps do.
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
    /// Digest of the image for our machines.
    pub(super) fn ours(&self) -> Option<&str> {
        self.manifests.ours.as_deref()
    }

    /// What it is for, in words.
    pub(super) fn platforms(&self) -> String {
        let platforms = self.manifests.platforms.iter();
        let named: BTreeSet<String> = platforms.map(Platform::to_string).collect();
        if named.is_empty() {
            return "no platform that it names".to_owned();
        }
        named.into_iter().collect::<Vec<_>>().join(", ")
    }
}

impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Chosen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of images")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Chosen, A::Error> {
                let ours = Platform::ours();
                let mut chosen = Chosen::default();
                while let Some(Entry { digest, platform }) = list.next_element()? {
                    let Some(platform) = platform else { continue };
                    if chosen.ours.is_none() && platform == ours {
                        chosen.ours = Some(digest);
                    }
                    // Signatures and the like stand there with no platform that exists.
                    if platform.os != "unknown" && chosen.platforms.len() < PLATFORMS {
                        chosen.platforms.push(platform);
                    }
                }
                Ok(chosen)
            }
        }

        deserializer.deserialize_seq(Entries)
    }
}

/// A manifest as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// Its bytes, read.
    pub image: ImageManifest,
}

/// What matters of an image's config. A stranger has written it: of what is not asked for, nothing is in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `User`.
    pub user: String,
    /// `ExposedPorts`: `5000/tcp`.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: String,
    /// Whether there is an `Entrypoint`.
    #[serde(rename = "Entrypoint", deserialize_with = "is_list")]
    pub has_entrypoint: bool,
}

/// An image's config file, as far as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) config: RunConfig,
}

impl ConfigFile {
    /// What the image runs on, where its config says so.
    pub(super) fn platform(&self) -> Option<Platform> {
        (!self.os.is_empty() && !self.architecture.is_empty()).then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
        })
    }
}

/// `null` is what the engine writes for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The names in an object, as far as they may be those of ports. Whatever they stand for takes no memory.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or null")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
                if name.len() <= PORT && names.len() < PORTS {
                    names.push(name);
                }
            }
            Ok(names)
        }
    }

    deserializer.deserialize_any(Names)
}

/// Whether it is a list that has something in it, which takes no memory.
fn is_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Any;

    impl<'de> Visitor<'de> for Any {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_unit<E>(self) -> Result<bool, E> {
            Ok(false)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
            let mut some = false;
            while let Some(IgnoredAny) = list.next_element()? {
                some = true;
            }
            Ok(some)
        }
    }

    deserializer.deserialize_any(Any)
}

/// Whether a text is a digest as registries have it. Others than SHA-256 are not read.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// Whether a text may be part of a registry's address as a repository, or as a tag: it leads nowhere else.
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
mod tests {
    use super::{ConfigFile, Index, digest, is_digest, is_plain};

    #[test]
    fn a_config_is_read_with_the_nulls_that_engines_write() {
        let text = r#"{"architecture":"amd64","config":{"User":"1000:1000","ExposedPorts":{"80/tcp":{}},
            "Entrypoint":null,"Cmd":["/bin/sh"],"Env":null,"WorkingDir":"/srv","Labels":null}}"#;
        let file: ConfigFile = serde_json::from_str(text).unwrap();
        assert_eq!(file.platform(), None);
        assert_eq!(file.config.user, "1000:1000");
        assert_eq!(file.config.exposed_ports, ["80/tcp"]);
        assert!(!file.config.has_entrypoint);
        for (list, has) in [(r#"["/bin/sh"]"#, true), ("[]", false)] {
            let text = format!(r#"{{"config":{{"Entrypoint":{list}}}}}"#);
            let file: ConfigFile = serde_json::from_str(&text).unwrap();
            assert_eq!(file.config.has_entrypoint, has, "{list}");
        }
        let without: ConfigFile = serde_json::from_str(r#"{"config":null}"#).unwrap();
        assert_eq!(without, ConfigFile::default());
        let nulls = r#"{"config":{"ExposedPorts":null}}"#;
        let without: ConfigFile = serde_json::from_str(nulls).unwrap();
        assert_eq!(without, ConfigFile::default());
    }

    #[test]
    fn of_what_a_stranger_lists_no_more_is_kept_than_is_asked_for() {
        let list = vec![r#""""#; 50_000].join(",");
        let object = |value: &str| {
            let entries: Vec<String> = (0..50_000).map(|n| format!("\"{n}\":{value}")).collect();
            entries.join(",")
        };
        let text = format!(
            r#"{{"config":{{"Entrypoint":[{list}],"Cmd":[{list}],"Env":[{list}],"Labels":{{{}}},"ExposedPorts":{{{}}}}}}}"#,
            object(r#""""#),
            object("{}")
        );
        let file: ConfigFile = serde_json::from_str(&text).unwrap();
        let kept = format!("{file:?}").len();
        assert!(kept < 16 * 1024, "{kept} bytes of {}", text.len());

        let entry = r#"{"mediaType":"m","digest":"sha256:a","size":1,"platform":{"os":"plan9","architecture":"mips"}}"#;
        let text = format!(r#"{{"manifests":[{}]}}"#, vec![entry; 10_000].join(","));
        let index: Index = serde_json::from_str(&text).unwrap();
        let kept = format!("{index:?}").len();
        assert!(kept < 1024, "{kept} bytes of {}", text.len());
    }

    #[test]
    fn the_image_of_this_machine_is_chosen_from_an_index() {
        let text = r#"{"manifests":[
            {"mediaType":"m","digest":"sha256:a","size":1,"platform":{"os":"windows","architecture":"amd64"}},
            {"mediaType":"m","digest":"sha256:b","size":1,"platform":{"os":"linux","architecture":"amd64"}},
            {"mediaType":"m","digest":"sha256:c","size":1,"platform":{"os":"linux","architecture":"arm64"}}]}"#;
        let index: Index = serde_json::from_str(text).unwrap();
        let ours = if cfg!(target_arch = "aarch64") {
            "sha256:c"
        } else {
            "sha256:b"
        };
        assert_eq!(index.ours(), Some(ours));
        assert_eq!(index.platforms(), "linux/amd64, linux/arm64, windows/amd64");
        let none: Index = serde_json::from_str(
            r#"{"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,"platform":{"os":"unknown","architecture":"unknown"}}]}"#,
        )
        .unwrap();
        assert_eq!(none.ours(), None);
        assert_eq!(none.platforms(), "no platform that it names");
    }

    #[test]
    fn names_lead_nowhere_else() {
        for (name, plain) in [
            ("slipway/slipway.dev/packs/p", true),
            ("v1.2_3-x", true),
            ("sha256:ab", true),
            ("a//b", false),
            ("", false),
            ("a/../b", false),
            ("a?x=1", false),
            ("a%2fb", false),
            ("a#b", false),
        ] {
            assert_eq!(is_plain(name), plain, "{name}");
        }
        assert!(is_digest(&digest(b"")) && !is_digest("sha256:ab") && !is_digest("sha512:ab"));
    }

    #[test]
    fn a_digest_is_named_with_its_algorithm() {
        assert_eq!(
            digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
