//! `Revision`: one state of the source.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::NUMBER_MAX,
    v1alpha1::{AppRef, Artifact, LocalRef},
};

/// One state of an App's source, and whether a look-up, the spec or a push recorded it. Its spec never changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Revision",
    namespaced,
    status = "RevisionStatus",
    shortname = "rev",
    category = "slipway",
    doc = "One state of an App's source, and who or what brought it.",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "App", type_ = "string", json_path = ".spec.app.name"),
    printcolumn(name = "Number", type_ = "integer", json_path = ".spec.number"),
    printcolumn(name = "Ref", type_ = "string", json_path = ".spec.git.ref"),
    printcolumn(name = "Commit", type_ = "string", json_path = ".spec.git.commit"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image.reference"),
    printcolumn(name = "Pushed", type_ = "string", json_path = ".spec.push.commit"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.by"),
    printcolumn(name = "PushedBy", type_ = "string", json_path = ".spec.pushedBy", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    selectable = ".spec.app.name",
    validation = ("self.spec == oldSelf.spec", "a Revision never changes: another state of the source is another Revision")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.git), has(self.image), has(self.push)].exists_one(it, it)",
    "a Revision is one of git, image and push"
))]
#[x_kube(validation = (
    "has(self.push) ? self.by == 'Push' && has(self.number) : self.by != 'Push' && !has(self.pushedBy)",
    "a Revision that was pushed says so in `by` and has a number, and only such a one has pushedBy"
))]
pub struct RevisionSpec {
    /// The App whose source it is.
    pub app: AppRef,
    /// Its number: one more than the highest that any Revision of the App has had. Revisions that older operators made
    /// have none, and come before all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = NUMBER_MAX))]
    pub number: Option<i64>,
    /// A commit of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRevision>,
    /// An image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRevision>,
    /// A commit that somebody pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRevision>,
    /// Whether a look-up, the spec or a push recorded it.
    pub by: RevisionBy,
    /// Who pushed it, as the API server knows them: `alice`, `system:serviceaccount:ci:deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub pushed_by: Option<String>,
}

/// A commit of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitRevision {
    /// Address of the repository.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The branch or tag that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub r#ref: Option<String>,
    /// The whole commit id.
    #[schemars(regex(pattern = r"^([a-f0-9]{40}|[a-f0-9]{64})$"), length(max = 64))]
    pub commit: String,
}

/// A commit that somebody pushed: it is not fetched from a git server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushRevision {
    /// The whole commit id.
    #[schemars(regex(pattern = r"^([a-f0-9]{40}|[a-f0-9]{64})$"), length(max = 64))]
    pub commit: String,
    /// The branch or tag that it was pushed to.
    #[schemars(length(min = 1, max = 255))]
    pub r#ref: String,
    /// The whole commit as a deterministic tar, in the App's own repository.
    pub artifact: Artifact,
}

/// An image of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageRevision {
    /// The image as the user wrote it.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
    /// The image by digest, with the registry's host. Pods run this.
    #[schemars(length(min = 1, max = 512))]
    pub resolved: String,
    /// Secret with which it is pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
    /// The one TCP port that the image exposes, where it exposes exactly one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The TCP ports that the image exposes, lowest first, and no more than 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 65535)))]
    pub exposed_ports: Option<Vec<i32>>,
    /// The port that the image's own variable `PORT` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub env_port: Option<i32>,
    /// The user in the image's configuration; if none, root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub user: Option<String>,
    /// Whether the image has an ENTRYPOINT. A command of the App replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entrypoint: bool,
}

/// What recorded a Revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RevisionBy {
    /// The operator looked the source up.
    #[default]
    Poll,
    /// The spec names the commit or the image.
    Spec,
    /// Somebody pushed it.
    Push,
}

/// What is known of a Revision. Nobody waits for a Revision, so it has no conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// The whole commit of a git repository as a deterministic tar, once a Build has stored it: later Builds need no
    /// git server. The artifact of a pushed Revision is in its spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
}
