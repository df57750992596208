//! What each zone says it did. A report from the build zone may have been written by the App's own code: it is
//! bounded when read and believed in nothing that matters to others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::zone::input::Artifact;

/// Most bytes of a report that are read.
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
    /// `fetch`, `detect`, `compile`, `release` or `export`.
    pub step: String,
    /// The buildpack that was at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// Exit code of the program that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What happened and what to do, in a line.
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
    /// Whether each of them has to accept the source; else the first that accepts is taken.
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
    /// What whoever wrote the source should know.
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
    /// What `bin/report` said.
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

/// Exit codes of a zone's process. The buildpack's own code stands in [`Failure::exit_code`].
pub mod exit {
    /// All went well.
    pub const OK: u8 = 0;
    /// No pack accepts the source, or one that was asked for does not.
    pub const DETECT: u8 = 20;
    /// Source, packs or cache could not be brought in.
    pub const FETCH: u8 = 40;
    /// A pack's compile failed.
    pub const COMPILE: u8 = 51;
    /// A pack's release failed, or wrote what is no YAML.
    pub const RELEASE: u8 = 52;
    /// The engine's disk was nearly full.
    pub const DISK: u8 = 53;
    /// Image or cache could not be written.
    pub const EXPORT: u8 = 60;
    /// A fault of our own.
    pub const INTERNAL: u8 = 70;
    /// A server, or the registry, did not answer for long: another attempt may go well. As in sysexits.h.
    pub const INTERRUPTED: u8 = 75;
    /// The time limit passed.
    pub const TIMEOUT: u8 = 124;
}
