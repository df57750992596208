//! `Release`: one numbered release of an App.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::{COMMAND_MAX, NUMBER_MAX, PROCESS_MAX, PROCESSES_MAX},
    v1alpha1::{AppRef, Check, Deadlines, LocalRef, OBJECT_NAME, PodSecurity, Resources},
};

/// One numbered release: an image, a config snapshot and everything else in the pod template. Its spec never changes.
/// The newest Release serves or, if it has failed, the last one that served.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Release",
    namespaced,
    status = "ReleaseStatus",
    shortname = "rel",
    category = "slipway",
    doc = "One numbered release of an App: an image, a config snapshot and everything else in the pod template.",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "App", type_ = "string", json_path = ".spec.app.name"),
    printcolumn(name = "Number", type_ = "integer", json_path = ".spec.number"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Cause", type_ = "string", json_path = ".spec.cause"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image.reference", priority = 1),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    selectable = ".spec.app.name",
    validation = ("self.spec == oldSelf.spec", "a Release never changes: a change of the App makes another Release")
)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// The App that it is of.
    pub app: AppRef,
    /// Its number: one more than the highest that any Release of the App has had.
    #[schemars(range(min = 1, max = NUMBER_MAX))]
    pub number: i64,
    /// Why it was made.
    #[schemars(length(min = 1, max = 1024))]
    pub cause: String,
    /// Hash of everything that makes a new Release when it changes.
    #[schemars(length(min = 1, max = 64))]
    pub inputs: String,
    /// Version of the rules by which objects are made from this Release, so that an upgrade of the operator
    /// replaces no pod.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub renderer: i32,
    /// Name of the Revision.
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub revision: String,
    /// The commit or image digest, shortened, for people.
    #[schemars(length(min = 1, max = 71))]
    pub revision_id: String,
    /// Name of the Build, unless the source is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub build: Option<String>,
    /// The image.
    pub image: ReleaseImage,
    /// The immutable Secret with the config snapshot.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub config_secret: String,
    /// Processes by name.
    #[schemars(extend("maxProperties" = PROCESSES_MAX))]
    pub processes: BTreeMap<String, ReleaseProcess>,
    /// Port that `web` listens on.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub volumes: Vec<ReleaseVolume>,
    /// How long things may take, all defaults filled in.
    pub deadlines: Deadlines,
    /// Which Pod Security Standard the pods keep to.
    pub pod_security: PodSecurity,
    /// What an administrator had set when the Release was made. If it is missing, an older operator made the Release,
    /// and its pods keep the settings that they were made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<ReleaseSite>,
}

/// The administrator's settings that affect pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSite {
    /// `host:port` of our registry, as nodes reach it.
    #[schemars(length(min = 1, max = 261))]
    pub registry: String,
    /// Secret with which nodes pull our images; none: they have their own credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
    /// Image of our programs, which run commands in images of others, and checks.
    #[schemars(length(min = 1, max = 512))]
    pub program_image: String,
    /// Seconds between a web pod's leaving the endpoints and SIGTERM.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub drain_seconds: i64,
}

/// The image of a Release: one in our registry by repository, or one in another registry by its full name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseImage {
    /// `repository@digest` in our registry, or `host/repository@digest` where `external`.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// Whether it is in another registry. Then `reference` has the registry's host, and a launcher that is added to the
    /// pod runs commands with the image's own `/bin/sh`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// Secret with which it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
    /// Numeric user that the pods run as, if the image's own configuration has no user or only a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub user_id: Option<i64>,
}

/// One process of a Release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseProcess {
    /// Command line, given to a shell; none: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = COMMAND_MAX))]
    pub command: Option<String>,
    /// How many pods run if neither the App's spec nor a scaler says it. If the Release before asks for as many, the
    /// present number stays.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// What each of them may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Its checks, all defaults filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub checks: Vec<Check>,
}

/// A volume of a Release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseVolume {
    /// Name of the storage entry.
    #[schemars(
        length(min = 1, max = 22),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub claim: String,
    /// Absolute path at which processes see it.
    #[schemars(length(min = 2, max = 1024))]
    pub mount_path: String,
    /// Directory within the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub sub_path: Option<String>,
    /// Whether processes may only read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether only one node may mount it: then its processes are replaced, not rolled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_node: bool,
    /// Which processes see it; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = PROCESS_MAX)))]
    pub processes: Vec<String>,
}

/// Phase of a Release.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum ReleasePhase {
    /// It has not begun.
    #[default]
    Pending,
    /// It rolls out.
    Deploying,
    /// It serves.
    Serving,
    /// A newer one took over.
    Superseded,
    /// It failed; the last good Release serves.
    Failed,
}

/// What happened to a Release.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The phase of the Release.
    #[serde(default)]
    pub phase: ReleasePhase,
    /// When its roll-out began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it first served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_at: Option<Time>,
    /// Why it failed or, if it has served, why pods of it are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ReleaseFailure>,
}

/// Why a Release failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseFailure {
    /// Reason, as in conditions.
    pub reason: String,
    /// What happened, to what, and what to do.
    pub message: String,
    /// The process that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The pod that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The last lines that its container wrote, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 500)))]
    pub last_lines: Vec<String>,
}
