//! The report of each zone. The App's own code may have written the build zone's report: its size is bounded when it is
//! read, and nothing that concerns other Apps relies on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::zone::input::Artifact;

/// Most bytes of a report. A zone writes no longer one, and no longer one is read.
pub const MAX_BYTES: usize = 1024 * 1024;

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// The step, for example `compile/python`.
    pub step: String,
    /// In milliseconds.
    pub milliseconds: u64,
}

/// Why a zone failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The step that failed: `fetch`, `detect`, `compile`, `release` or `export`.
    pub step: String,
    /// The buildpack that was at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// Exit code of the program that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What happened and what to do, in one line.
    pub message: String,
}

/// What fetch did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchReport {
    /// The source as an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Artifact>,
    /// The repository's app.json, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_json: Option<String>,
    /// Steps.
    #[serde(default)]
    pub timings: Vec<Timing>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The packs that fetch brought in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Packs {
    /// Whether each pack has to accept the source. If false, only the first pack that accepts it runs.
    pub explicit: bool,
    /// In order.
    pub packs: Vec<Pack>,
}

/// A pack on the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pack {
    /// Its name, or its address.
    pub name: String,
    /// Its folder below the packs' folder, `00-python`.
    pub folder: String,
    /// Digest of its artifact or archive, or commit of its repository.
    pub digest: String,
}

/// What the build zone did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildReport {
    /// The packs that ran.
    #[serde(default)]
    pub packs: Vec<PackReport>,
    /// Process types and commands.
    #[serde(default)]
    pub processes: BTreeMap<String, String>,
    /// Environment that the last pack's release asks for (`config_vars`), below the App's own.
    #[serde(default)]
    pub config_vars: BTreeMap<String, String>,
    /// Notes for the App's author.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Steps.
    #[serde(default)]
    pub timings: Vec<Timing>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A pack that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackReport {
    /// Its name, or its address.
    pub name: String,
    /// What `bin/detect` printed.
    pub detected: String,
    /// As in [`Pack::digest`].
    pub digest: String,
    /// What `bin/report` printed.
    #[serde(default)]
    pub report: BTreeMap<String, String>,
}

/// What export did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Artifact>,
    /// Bytes that were uploaded.
    #[serde(default)]
    pub uploaded_bytes: u64,
    /// Steps.
    #[serde(default)]
    pub timings: Vec<Timing>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Exit codes of a zone's process. A buildpack's own exit code is in [`Failure::exit_code`].
pub mod exit {
    /// The zone succeeded.
    pub const OK: u8 = 0;
    /// No pack accepts the source, or a pack that the App or its repository names does not.
    pub const DETECT: u8 = 20;
    /// Fetch could not bring source, packs or cache.
    pub const FETCH: u8 = 40;
    /// A pack's `bin/compile` failed.
    pub const COMPILE: u8 = 51;
    /// A pack's `bin/release` failed, or did not print YAML.
    pub const RELEASE: u8 = 52;
    /// The engine's disk was nearly full.
    pub const DISK: u8 = 53;
    /// Export could not write image or cache.
    pub const EXPORT: u8 = 60;
    /// An internal error of Slipway.
    pub const INTERNAL: u8 = 70;
    /// A server or the registry did not answer for a long time; another attempt may succeed. `EX_TEMPFAIL` of
    /// sysexits.h.
    pub const INTERRUPTED: u8 = 75;
    /// The time limit passed.
    pub const TIMEOUT: u8 = 124;
}
