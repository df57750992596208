//! What each zone is told: plain data, made by the operator, read once.
//!
//! Inputs with credentials are of fetch and export only. `Debug` never shows a secret.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::outside::policy::Policy;

/// Text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Something in the registry, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Repository, without the registry's host.
    pub repository: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
}

/// How to reach the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAccess {
    /// `host:port`.
    pub address: String,
    /// Account; none: anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// PEM certificates that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Plain HTTP: for a registry on a trusted network only.
    #[serde(default)]
    pub insecure: bool,
}

/// Credentials of a git server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitCredentials {
    /// User name; of a token `x-access-token` or whatever the server likes.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// What fetch brings in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchInput {
    /// The source.
    pub source: SourceInput,
    /// Repository of the App in the registry, `<prefix>/<namespace>/<app>`.
    pub repository: String,
    /// Tag that keeps the source artifact from collection.
    pub source_tag: String,
    /// Tag of the cache artifact, which may not exist.
    pub cache_tag: String,
    /// Buildpacks that the App's spec asks for, in order; none: the repository's word, else all of `stack_packs`.
    pub buildpacks: Vec<String>,
    /// The Stack's buildpacks, in detection order.
    pub stack_packs: Vec<PackInput>,
    /// The registry.
    pub registry: RegistryAccess,
    /// PEM certificates for git servers and downloads: a whole bundle, the system's among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Environment of child processes: proxies.
    #[serde(default)]
    pub process_env: BTreeMap<String, String>,
    /// What git may do.
    pub git: GitLimits,
    /// Where git and downloads may connect to. An older operator says nothing of it.
    #[serde(default)]
    pub outside: Policy,
    /// Bytes that have to stay free on the volume's disk. An older operator says nothing of it.
    #[serde(default)]
    pub disk_reserve_bytes: u64,
}

/// The source of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceInput {
    /// Address of the repository.
    pub url: String,
    /// The branch or tag through which the commit was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#ref: Option<String>,
    /// The whole commit id.
    pub commit: String,
    /// Directory of the App within the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// The source as an artifact, if an earlier build of the Revision stored it: then no git server is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Credentials of the git server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GitCredentials>,
}

/// A pack of the Stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackInput {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub artifact: Artifact,
}

/// What git may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitLimits {
    /// Protocols that git may speak, for example `https`, `http`, `git`.
    pub protocols: Vec<String>,
    /// Most bytes that a repository, or a source tree, may have.
    pub max_bytes: u64,
    /// Most files that a source tree may have.
    pub max_files: u64,
    /// Most seconds that one look-up or fetch may take.
    pub timeout_seconds: u64,
}

/// What the build zone does. Nothing here is a secret to the App's author, and no credentials are among it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInput {
    /// `STACK`.
    pub stack_name: String,
    /// `SOURCE_VERSION`: the commit.
    pub source_version: String,
    /// `REQUEST_ID`: the Build's UID.
    pub request_id: String,
    /// `SOURCE_DATE_EPOCH`, in seconds: one constant, so that the same tree gives the same image.
    pub source_date_epoch: i64,
    /// The variables of ENV_DIR.
    pub env: BTreeMap<String, String>,
    /// Names among `env` whose values are redacted in the log: those that came from Secrets.
    pub secret_names: Vec<String>,
    /// Environment of buildpack processes: CA bundle, mirrors, proxies.
    pub process_env: BTreeMap<String, String>,
    /// Most seconds that the build may take, from the begin of fetch.
    pub timeout_seconds: u64,
    /// When they are over, in seconds since 1970.
    pub deadline: i64,
    /// Bytes that have to stay free on the volume's disk: it is the engine's own, and all builds'.
    pub disk_reserve_bytes: u64,
    /// Most bytes of log, as the engine stores it. An older operator says nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
}

impl BuildInput {
    /// How much time is left at this second. Never more than the whole, however the clocks of two machines differ.
    pub fn left(&self, now: i64) -> Duration {
        let left = u64::try_from(self.deadline.saturating_sub(now)).unwrap_or(0);
        Duration::from_secs(left.min(self.timeout_seconds))
    }
}

impl fmt::Debug for BuildInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stack_name,
            source_version,
            request_id,
            source_date_epoch,
            env,
            secret_names,
            process_env,
            timeout_seconds,
            deadline,
            disk_reserve_bytes,
            log_bytes,
        } = self;
        f.debug_struct("BuildInput")
            .field("stack_name", stack_name)
            .field("source_version", source_version)
            .field("request_id", request_id)
            .field("source_date_epoch", source_date_epoch)
            .field("env", &env.keys())
            .field("secret_names", secret_names)
            .field("process_env", &process_env.keys())
            .field("timeout_seconds", timeout_seconds)
            .field("deadline", deadline)
            .field("disk_reserve_bytes", disk_reserve_bytes)
            .field("log_bytes", log_bytes)
            .finish()
    }
}

/// What the proxy of a build zone is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressInput {
    /// Where builds may connect to.
    pub outside: Policy,
    /// What the administrator says of proxies, which may name an account.
    pub process_env: BTreeMap<String, String>,
}

impl fmt::Debug for EgressInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            outside,
            process_env,
        } = self;
        f.debug_struct("EgressInput")
            .field("outside", outside)
            .field("process_env", &process_env.keys())
            .finish()
    }
}

/// What export writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportInput {
    /// Repository of the App in the registry.
    pub repository: String,
    /// Tag that keeps the image from collection.
    pub image_tag: String,
    /// Tag of the cache artifact.
    pub cache_tag: String,
    /// The run image, whose layers are mounted under the App's.
    pub run_image: Artifact,
    /// User and group that own the App's files and run it.
    pub user_id: i64,
    /// Time of every file and of the image, in seconds.
    pub source_date_epoch: i64,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// `STACK` in the image's environment; none: as the run image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The registry.
    pub registry: RegistryAccess,
    /// Bytes that have to stay free on the volume's disk. An older operator says nothing of it.
    #[serde(default)]
    pub disk_reserve_bytes: u64,
}
