//! The input of each zone: plain data that the operator writes and the zone reads once.
//!
//! Only the inputs of fetch and export contain credentials. `Debug` never shows a secret.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{outside::policy::Policy, zone::mark::Mark};

/// Text that `Debug` never prints.
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
    /// Account; without one, requests are anonymous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// PEM certificates to trust in addition to the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Whether to speak plain HTTP. Only for a registry on a trusted network.
    #[serde(default)]
    pub insecure: bool,
}

/// Credentials of a git server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitCredentials {
    /// User name; with a token, `x-access-token` or what the server expects.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// What fetch brings in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchInput {
    /// Makes the zone's report credible.
    pub mark: Mark,
    /// The source.
    pub source: SourceInput,
    /// Repository of the App in the registry, `<prefix>/<namespace>/<app>`.
    pub repository: String,
    /// Tag that protects the source artifact from the registry's garbage collection.
    pub source_tag: String,
    /// Tag of the cache artifact, which may not exist.
    pub cache_tag: String,
    /// Buildpacks that the App's spec names, in order. If it names none, those that the repository names, else all of
    /// `stack_packs`.
    pub buildpacks: Vec<String>,
    /// The Stack's buildpacks, in detection order.
    pub stack_packs: Vec<PackInput>,
    /// The registry.
    pub registry: RegistryAccess,
    /// PEM certificates for git servers and downloads: a whole bundle, which includes the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// Environment of child processes: the proxy variables.
    #[serde(default)]
    pub process_env: BTreeMap<String, String>,
    /// What git may do.
    pub git: GitLimits,
    /// Where git and downloads may connect to. Missing if an older operator wrote this.
    #[serde(default)]
    pub outside: Policy,
    /// Bytes that have to stay free on the volume's disk. An older operator says nothing of it.
    #[serde(default)]
    pub disk_reserve_bytes: u64,
}

/// The source of a build: a git server, an artifact, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceInput {
    /// Where it is fetched from; none if it was pushed. Its fields are among those of the source, as older operators wrote
    /// them.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitInput>,
    /// The whole commit id.
    pub commit: String,
    /// Directory of the App within the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// The source as an artifact, if it was pushed or an earlier build of the Revision stored it. Then fetch asks no git
    /// server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
}

/// A git server, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitInput {
    /// Address of the repository.
    pub url: String,
    /// The branch or tag through which the commit was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#ref: Option<String>,
    /// Credentials of the git server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GitCredentials>,
}

/// A buildpack of the Stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackInput {
    /// Its name.
    pub name: String,
    /// Its folder as an artifact.
    pub artifact: Artifact,
}

/// What git may do. It is a section of the settings file, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitLimits {
    /// Protocols that git may speak, for example `https`, `http`, `git`.
    pub protocols: Vec<String>,
    /// Most bytes of a repository, and of a source tree.
    pub max_bytes: u64,
    /// Most files of a source tree.
    pub max_files: u64,
    /// Time limit of one look-up or fetch, in seconds.
    pub timeout_seconds: u64,
}

/// What the build zone does. It holds nothing that the App's author may not read, and no credentials of the platform.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInput {
    /// Makes the zone's report credible. The builder removes its input before it runs code of the App.
    pub mark: Mark,
    /// `STACK`.
    pub stack_name: String,
    /// `SOURCE_VERSION`: the commit.
    pub source_version: String,
    /// `REQUEST_ID`: the Build's UID.
    pub request_id: String,
    /// `SOURCE_DATE_EPOCH`, in seconds: the same for every build, so that the same tree gives the same image.
    pub source_date_epoch: i64,
    /// The variables of ENV_DIR.
    pub env: BTreeMap<String, String>,
    /// Names of the variables in `env` that came from Secrets. Their values are redacted in the log.
    pub secret_names: Vec<String>,
    /// Environment of buildpack processes: CA bundle, mirrors, proxies.
    pub process_env: BTreeMap<String, String>,
    /// Time limit of the build in seconds, from the start of fetch.
    pub timeout_seconds: u64,
    /// When that limit ends, in seconds since 1970.
    pub deadline: i64,
    /// Bytes that have to stay free on the volume's disk, which is the engine's and shared by all builds.
    pub disk_reserve_bytes: u64,
    /// Most bytes of log, as the engine stores it. The report comes on top. Missing if an older operator wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
}

impl BuildInput {
    /// How much time is left at this second. Never more than the whole limit, even if the clocks of operator and engine
    /// differ.
    pub fn left(&self, now: i64) -> Duration {
        let left = u64::try_from(self.deadline.saturating_sub(now)).unwrap_or(0);
        Duration::from_secs(left.min(self.timeout_seconds))
    }
}

impl fmt::Debug for BuildInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mark,
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
            .field("mark", mark)
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

/// The input of a build zone's proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressInput {
    /// Where builds may connect to.
    pub outside: Policy,
    /// The proxy variables that the administrator set; their values may contain a password.
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
    /// Makes the zone's report credible.
    pub mark: Mark,
    /// Repository of the App in the registry.
    pub repository: String,
    /// Tag that protects the image from the registry's garbage collection.
    pub image_tag: String,
    /// Tag of the cache artifact.
    pub cache_tag: String,
    /// The run image, whose layers the registry mounts into the App's repository. The App's layers go on top.
    pub run_image: Artifact,
    /// User and group that own the App's files and run it.
    pub user_id: i64,
    /// Time of every file and of the image, in seconds since 1970.
    pub source_date_epoch: i64,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// `STACK` in the image's environment; if missing, the run image's value stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The registry.
    pub registry: RegistryAccess,
    /// Bytes that have to stay free on the volume's disk. An older operator says nothing of it.
    #[serde(default)]
    pub disk_reserve_bytes: u64,
}
