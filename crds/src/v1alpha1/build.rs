//! `Build`: one build of one Revision.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::{COMMAND_MAX, NUMBER_MAX, PROCESSES_MAX},
    v1alpha1::{
        AppRef, Artifact, BuildEnvVar, Duration, LocalRef, OBJECT_NAME, PushRevision, Resources,
        StackPack,
    },
};

/// One build: a Revision and the build inputs, all by digest, and the image that came of them. Its spec never
/// changes; it is named by a hash of its inputs, so that making it twice is a conflict and not a second build.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Build",
    namespaced,
    status = "BuildStatus",
    category = "slipway",
    doc = "One build: a Revision and the build inputs, and the image that came of them.",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "App", type_ = "string", json_path = ".spec.app.name"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Packs", type_ = "string", json_path = ".status.packNames"),
    printcolumn(name = "Seconds", type_ = "integer", json_path = ".status.seconds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    selectable = ".spec.app.name",
    validation = ("self.spec == oldSelf.spec", "a Build never changes: other inputs are another Build")
)]
#[serde(rename_all = "camelCase")]
pub struct BuildSpec {
    /// The App that it is for.
    pub app: AppRef,
    /// Name of the Revision that is built.
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub revision: String,
    /// The Revision's number, if it has one: a Build of a later Revision supersedes those of earlier ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = NUMBER_MAX))]
    pub revision_number: Option<i64>,
    /// Hash of all inputs of the Build. The name begins with it, unless this is a further attempt. Builds that older
    /// operators made do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub inputs: Option<String>,
    /// Which attempt with these inputs it is, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub attempt: Option<i64>,
    /// Why it was made.
    #[schemars(length(min = 1, max = 1024))]
    pub cause: String,
    /// The source.
    pub source: BuildSource,
    /// The Stack, as it was when the Build was made.
    pub stack: BuildStack,
    /// Buildpacks that the App's spec asks for, in order. If empty: those that the repository asks for, else those that
    /// detection finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 2048)))]
    pub buildpacks: Vec<String>,
    /// Environment that buildpacks get in ENV_DIR: the App's literal values, values from Secrets and ConfigMaps marked
    /// `build: true` (by reference), and `build.env`, which takes precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<BuildEnvVar>,
    /// How long it may take, from its start.
    pub timeout: Duration,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The value of the rebuild annotation that asked for it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub request: Option<String>,
}

/// What a Build builds: exactly one of the sources, and where in it the App is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.git) != has(self.push)", "a Build's source is one of git and push"))]
pub struct BuildSource {
    /// A commit of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<BuildGit>,
    /// A commit that somebody pushed, as its Revision says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRevision>,
    /// Directory of the App within the source. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub sub_path: Option<String>,
}

impl BuildSource {
    /// The whole commit id; `None` if it names no source, which the schema forbids.
    pub fn commit(&self) -> Option<&str> {
        let git = self.git.as_ref().map(|git| git.commit.as_str());
        git.or_else(|| self.push.as_ref().map(|push| push.commit.as_str()))
    }

    /// The branch or tag that pointed to the commit, if one is known.
    pub fn reference(&self) -> Option<&str> {
        let git = self.git.as_ref().and_then(|git| git.r#ref.as_deref());
        git.or_else(|| self.push.as_ref().map(|push| push.r#ref.as_str()))
    }
}

/// A commit of a git repository, and how it is fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildGit {
    /// Address of the git repository.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The branch or tag through which the commit was found, if any: some servers serve a commit only through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub r#ref: Option<String>,
    /// The whole commit id.
    #[schemars(regex(pattern = r"^([a-f0-9]{40}|[a-f0-9]{64})$"), length(max = 64))]
    pub commit: String,
    /// Secret with the credentials of the git server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
}

/// A Stack, as it was when the Build was made.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildStack {
    /// Name of the Stack object.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// What buildpacks find in `STACK`.
    #[schemars(length(min = 1, max = 63))]
    pub stack_name: String,
    /// Image in which buildpacks run.
    pub build_image: Artifact,
    /// Image on which the App runs.
    pub run_image: Artifact,
    /// User and group of builds and apps.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub user_id: i64,
    /// The bundled buildpacks, in detection order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub packs: Vec<StackPack>,
}

/// Phase of a Build.
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
pub enum BuildPhase {
    /// It has not begun.
    #[default]
    Pending,
    /// The fetch zone gets the source, the packs and the cache.
    Fetching,
    /// Buildpacks run.
    Building,
    /// The image is written.
    Exporting,
    /// It made an image.
    Succeeded,
    /// It made no image, and will make none.
    Failed,
    /// It was cancelled, or superseded by a newer Build of the App.
    Cancelled,
}

impl BuildPhase {
    /// Whether the Build has ended.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What happened to a Build.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The phase of the Build.
    #[serde(default)]
    pub phase: BuildPhase,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Whole seconds from begin to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// How long each step took, in the order in which they ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 195))]
    pub timings: Vec<Timing>,
    /// The buildpacks that ran, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub packs: Vec<PackStatus>,
    /// Their names, `nodejs, python`, as one text, because the columns of `kubectl get` show only the first entry of a
    /// list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub pack_names: Option<String>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Artifact>,
    /// Process types and their commands: the Procfile's take precedence over the last buildpack's defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = PROCESSES_MAX,
        "additionalProperties" = {"type": "string", "maxLength": COMMAND_MAX}
    ))]
    pub processes: BTreeMap<String, String>,
    /// The repository's app.json as it was, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub app_json: Option<String>,
    /// What the author of the source should know: a file that is not read, a process type that is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub notes: Vec<String>,
    /// The source that was fetched, as an artifact, for later Builds of the same Revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Artifact>,
    /// The whole log, once the Build is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Artifact>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<BuildFailure>,
}

/// How long a step took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// The step, for example `fetch`, `detect`, `compile/python`, `export`.
    #[schemars(length(max = 256))]
    pub step: String,
    /// In milliseconds.
    pub milliseconds: i64,
}

/// A buildpack that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackStatus {
    /// Name of the pack, or its address.
    #[schemars(length(max = 1024))]
    pub name: String,
    /// What `bin/detect` printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detected: Option<String>,
    /// Digest of its artifact or archive, or the commit of its repository.
    #[schemars(length(max = 256))]
    pub digest: String,
    /// What `bin/report` said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 64,
        "additionalProperties" = {"type": "string", "maxLength": 1024}
    ))]
    pub report: BTreeMap<String, String>,
}

/// Why a Build failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildFailure {
    /// The step that failed: `fetch`, `detect`, `compile`, `release`, `export`.
    #[schemars(length(max = 64))]
    pub step: String,
    /// The buildpack, where one was at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub pack: Option<String>,
    /// Exit code of the program that failed, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What happened and what to do, in a line.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The last lines of the log, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(max = 512)))]
    pub last_lines: Vec<String>,
}
