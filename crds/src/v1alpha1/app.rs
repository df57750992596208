//! `App`: what the user wants.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    names::{COMMAND_MAX, PROCESS_MAX},
    v1alpha1::{Duration, KeyRef, LocalRef, OBJECT_NAME, Quantity, Resources, undescribed},
};

/// An application: where its source is, and how it is built and run. Everything except `source` has a default. This
/// spec takes precedence over the repository's files (Procfile, app.json).
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "App",
    namespaced,
    status = "AppStatus",
    category = "slipway",
    doc = "An application: where its source is, and how it is built and run.",
    derive = "Default",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.processes.web.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.serving.release"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.serving.revision"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    validation = (
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "an App's name has at most 40 characters, begins with a lower-case letter, and has only lower-case letters, digits and hyphens: Deployments, Services and claims are named after it"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AppSpec {
    /// Where the App comes from.
    pub source: Source,
    /// How its source is made into an image. Has no effect on an App whose source is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildOptions>,
    /// Environment variables, at run time and (literal values) at build time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose every key becomes an environment variable at run time. `env` wins over them,
    /// and a later entry over an earlier one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFrom>,
    /// Processes by name. Those of the Procfile need no entry here; an entry without `command` changes one of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = (
        "self.all(name, name.size() <= 63 && name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))",
        "a process' name has at most 63 characters, begins with a lower-case letter, and has only lower-case letters, digits and hyphens"
    ))]
    pub processes: BTreeMap<String, Process>,
    /// Health checks by process. For a process that is named here, those of app.json are ignored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = (
        "self.all(name, name.size() <= 63 && name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$'))",
        "checks stand under a process' name, which has at most 63 characters, begins with a lower-case letter, and has only lower-case letters, digits and hyphens"
    ))]
    pub checks: BTreeMap<String, Checks>,
    /// Volumes that outlive a deploy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        "self.all(a, self.exists_one(b, a.mountPath == b.mountPath))",
        "two storage entries have the same mountPath"
    ))]
    pub storage: Vec<Storage>,
    /// Port that `web` listens on; every process gets it as `PORT`. Default: 5000. For an image: the port that it
    /// exposes, if it is exactly one, else the one that its own variable `PORT` names, else 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How long things may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<Deadlines>,
    /// Which Pod Security Standard the pods keep to: `Restricted` (no root, no capabilities, no privilege escalation) or
    /// `Baseline` (the image may run as root; the namespace has to allow it). Default: `Restricted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// How many ended Builds are kept, and how many superseded Releases. The serving and the newest Release are always
    /// kept. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: Option<i32>,
    /// Leaves everything as it is: no look-up, no build, no release, no scaling. The serving Release keeps running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

/// Where an App comes from: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.git) != has(self.image)", "a source is one of git and image"))]
pub struct Source {
    /// A git repository, looked up at an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
    /// An image that exists already: nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
}

impl Source {
    /// Whether something is built of it: of all sources but an image.
    pub const fn is_built(&self) -> bool {
        self.image.is_none()
    }
}

/// A git repository over HTTP(S), or over git's own protocol where the operator allows it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// Address of the repository, without credentials: `https://example.com/hello.git`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = (
        "self.matches('^(https?|git)://[^@/]+(/.*)?$')",
        "the address begins with https://, http:// or git:// and has no user name or password in it: put those into a Secret and name it in secretRef (SSH addresses are not supported yet)"
    ))]
    pub url: String,
    /// Branch, tag or whole commit. Default: the repository's default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = (
        "!self.matches('[[:cntrl:] ~^:?*]') && !self.contains('[') && !self.contains('\\\\') && !self.contains('..') && !self.contains('@{') && self != '@' && !self.matches('^[-+]|(^|/)([.]|/|$)|[.]lock(/|$)|[.]$')",
        "not a name of a branch, tag or commit: git takes no blanks and none of ~ ^ : ? * [ and backslash in it, no '..', '//' or '@{', and no part that begins with a dot or ends with '.lock'"
    ))]
    pub r#ref: Option<String>,
    /// Directory of the App within the repository. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = (
        "!self.startsWith('/') && !self.split('/').exists(p, p == '..' || p == '')",
        "subPath is a relative path without '..' and without empty parts"
    ))]
    pub sub_path: Option<String>,
    /// Secret with `username` and `password`, or `token`; sent by https only, unless `outside.allow` names the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// How often the branch or tag is looked up, at least `10s`. A commit is never looked up. Default: `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('10s')", "interval is at least 10s"))]
    pub interval: Option<Duration>,
}

/// An image of a registry.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSource {
    /// Image, by tag or digest. A tag is looked up once, and again on request: pods always run the digest that was
    /// found.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([a-zA-Z0-9.-]*(:[0-9]+)?/)?[a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$')",
        "not an image reference such as registry.example.com/team/app:1.2"
    ))]
    pub reference: String,
    /// Secret of type kubernetes.io/dockerconfigjson with which the image is looked up and pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<LocalRef>,
}

/// How a source is made into an image.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildOptions {
    /// Buildpacks, in order: each is the name of one of the Stack's, or the address of another
    /// (`https://example.com/pack.git#ref`, `https://example.com/pack.tgz`). Each has to accept the source. Default:
    /// app.json's `buildpacks`, else the repository's `.buildpacks`, else the first of the Stack's that accepts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 2048)))]
    #[x_kube(validation = (
        "self.all(p, p.matches('^(https?://[^@ ]+|[a-z0-9][a-z0-9/._-]*)$'))",
        "a buildpack is the name of one of the Stack's, or an http(s) address without credentials"
    ))]
    pub buildpacks: Vec<String>,
    /// Environment variables of builds only. A change makes a new Build, unlike a change of `spec.env`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<BuildEnvVar>,
    /// Name of the Stack. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub stack: Option<String>,
    /// How long one build may take, at most `24h`. Default: `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "timeout is between 1s and 24h"
    ))]
    pub timeout: Option<Duration>,
    /// What a build may use. Only limits count. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// One environment variable.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.value) != has(self.valueFrom)",
    "an environment variable has one of value and valueFrom (an empty value is written \"\")"
))]
#[x_kube(validation = (
    "!has(self.build) || has(self.valueFrom)",
    "build goes with valueFrom: a literal value is at hand in builds anyway"
))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    )]
    pub name: String,
    /// Its value, taken to the byte: nothing in it is expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub value: Option<String>,
    /// Where its value is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvValueFrom>,
    /// Whether builds also get this value, if it is read from a Secret or ConfigMap. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<bool>,
}

/// One environment variable of builds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.value) != has(self.valueFrom)",
    "an environment variable has one of value and valueFrom (an empty value is written \"\")"
))]
pub struct BuildEnvVar {
    /// Name of the variable.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    )]
    pub name: String,
    /// Its value, taken to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    pub value: Option<String>,
    /// Where its value is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvValueFrom>,
}

/// Where a value is read from: exactly one of the fields.
#[derive(
    KubeSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "valueFrom is one of secretKeyRef and configMapKeyRef"
))]
pub struct EnvValueFrom {
    /// A key of a Secret in the App's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the App's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// All keys of one Secret or ConfigMap: exactly one of the references.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.secretRef) != has(self.configMapRef)",
    "an envFrom entry is one of secretRef and configMapRef"
))]
pub struct EnvFrom {
    /// A Secret in the App's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// A ConfigMap in the App's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalRef>,
    /// Put in front of each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub prefix: Option<String>,
}

/// One process type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Command line, run by a shell; for an image, by its own `/bin/sh`, which has to exist. Default: the Procfile's,
    /// else the buildpack's; for an image, its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = COMMAND_MAX))]
    pub command: Option<String>,
    /// How many pods run. Default: the number that an autoscaler or `kubectl scale` has set on the process' Deployment,
    /// through its scale subresource; else the present number, if there are pods. For a new process, and when it
    /// changes: the number in app.json's formation, else one `web` and none of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// What each pod may use. Default: none; app.json's formation cannot set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// The health checks of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Checks(#[schemars(length(max = 16))] pub Vec<Check>);

/// One health check, with Dokku's fields and defaults. It is one of: a request to `path`, a `command`, `listening`,
/// `uptime`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.path) || has(self.content) || has(self.httpHeaders) || has(self.scheme), has(self.command), has(self.listening), has(self.uptime)].filter(b, b).size() <= 1",
    "a check is one of: a request (path, content, httpHeaders, scheme), command, listening, uptime"
))]
#[x_kube(validation = (
    "!has(self.uptime) || self.type == 'startup'",
    "uptime is a startup check"
))]
pub struct Check {
    /// When it runs: `startup` gates a deploy, `readiness` gates traffic, `liveness` restarts the container.
    pub r#type: CheckType,
    /// Name in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// Path of the request; an answer of 200 to 299 passes. A redirect to the same host is followed; one to another
    /// host passes, unless `content` is set. Default: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/"))]
    pub path: Option<String>,
    /// Text that has to be in the answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub content: Option<String>,
    /// Headers of the request, for example `Host`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub http_headers: Vec<HttpHeader>,
    /// Scheme of the request: `http`, or `https`, whose certificate is not verified. Default: `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Command and its arguments, run in the container: status 0 passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Whether something has to listen on `port`, on every interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listening: Option<bool>,
    /// How many seconds the container has to run without a restart before the Release counts as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub uptime: Option<i32>,
    /// Port of the request. Default: `spec.port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How many tries in a row have to fail before the check fails. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: Option<i32>,
    /// Seconds between tries. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub wait: Option<i32>,
    /// Seconds that a try may take. Default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub timeout: Option<i32>,
    /// Seconds from the container's start to the first try. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub initial_delay: Option<i32>,
}

/// When a check runs.
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
#[serde(rename_all = "camelCase")]
pub enum CheckType {
    /// Until it passes once. It gates a deploy.
    #[default]
    Startup,
    /// All the time. It gates traffic.
    Readiness,
    /// All the time. A failure restarts the container.
    Liveness,
}

/// Scheme of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = undescribed)]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// Over TLS; the certificate is not verified.
    Https,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeader {
    /// Name of the header: letters, digits and hyphens, as Kubernetes' probes take it.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[-A-Za-z0-9]+$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096), regex(pattern = r"^[^\r\n]*$"))]
    pub value: String,
}

/// A volume that outlives a deploy: exactly one of `claim` and `claimTemplate`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.claim) != has(self.claimTemplate)",
    "a storage entry has one of claim and claimTemplate"
))]
pub struct Storage {
    /// Name of the entry.
    #[schemars(
        length(min = 1, max = 22),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Absolute path at which the processes see it.
    #[schemars(length(min = 2, max = 1024))]
    #[x_kube(validation = (
        "self.startsWith('/') && !self.contains(':') && !self.split('/').exists(p, p == '..') && self != '/app'",
        "mountPath is absolute, without ':' and '..', and not /app itself, where the App's files are"
    ))]
    pub mount_path: String,
    /// A PersistentVolumeClaim of this namespace that exists already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<LocalRef>,
    /// A PersistentVolumeClaim that is made for the App.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_template: Option<ClaimTemplate>,
    /// Which processes see it. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = PROCESS_MAX)))]
    pub processes: Vec<String>,
    /// Directory within the volume. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = (
        "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
        "subPath is a relative path without '..'"
    ))]
    pub sub_path: Option<String>,
    /// Whether the processes may only read it. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// A claim that is made for the App.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '')",
    "a claim's storage class cannot change: add another storage entry and move the data"
))]
#[x_kube(validation = (
    "(has(self.accessMode) ? self.accessMode : 'ReadWriteOnce') == (has(oldSelf.accessMode) ? oldSelf.accessMode : 'ReadWriteOnce')",
    "a claim's access mode cannot change: add another storage entry and move the data"
))]
pub struct ClaimTemplate {
    /// Its least size. It can be raised if the storage class allows it.
    pub size: Quantity,
    /// StorageClass. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// How nodes may mount it: `ReadWriteOnce` (one node at a time: processes that mount it are stopped before their next
    /// release starts), `ReadWriteOncePod` (one pod at a time), `ReadOnlyMany` (many nodes, to read) or `ReadWriteMany`
    /// (many nodes). Default: `ReadWriteOnce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    /// What happens to the claim when the App, or this entry, is deleted: `Retain` (it stays, and an App of the same
    /// name uses it again) or `Delete` (it is deleted, with its data). Default: `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,
}

/// How nodes may mount a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = undescribed)]
pub enum AccessMode {
    /// One node at a time. Processes that mount it are stopped before their next release starts.
    #[default]
    ReadWriteOnce,
    /// One pod at a time.
    ReadWriteOncePod,
    /// Many nodes, read-only.
    ReadOnlyMany,
    /// Many nodes.
    ReadWriteMany,
}

/// What happens to a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = undescribed)]
pub enum ReclaimPolicy {
    /// It stays, and an App of the same name uses it again.
    #[default]
    Retain,
    /// It is deleted with the App.
    Delete,
}

/// How long things may take.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadlines {
    /// How long a Release may take to become ready before it counts as failed. Default: `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('1s') && duration(self) <= duration('24h')",
        "deploy is between 1s and 24h"
    ))]
    pub deploy: Option<Duration>,
    /// How long a process may take to end after SIGTERM before it is killed. Default: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) <= duration('1h')", "stop is at most 1h"))]
    pub stop: Option<Duration>,
}

/// Which Pod Security Standard an App's pods keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = undescribed)]
pub enum PodSecurity {
    /// No root, no capabilities, no privilege escalation.
    #[default]
    Restricted,
    /// The image may run as root. The namespace has to allow it.
    Baseline,
}

/// What the operator found and did.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppStatus {
    /// The `metadata.generation` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Available`, `Reconciling`, `Stalled`, `SourceReady`, `Built`, `Released`, `ChecksPassed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Address at which the web process answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingStatus>,
    /// The newest Revision, Build and Release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestStatus>,
    /// Processes of the serving Release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<String, ProcessStatus>,
    /// Pods of the web process, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Selector of the web process' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The last value of the annotation `slipway.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last value of the annotation `slipway.dev/rebuild-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rebuild_at: Option<String>,
    /// The last value of the annotation `slipway.dev/rerender-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rerender_at: Option<String>,
    /// The highest number that a Revision of this App has had. It is never used again, even if that Revision is
    /// deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_revision_number: Option<i64>,
    /// The highest number that a Release of this App has had. It is never used again, even if that Release is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_release_number: Option<i64>,
    /// What the user should know and no condition says, for example: a rebuild would get another value, a process is
    /// stopped before its next release starts, a check cannot gate a deploy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 512)))]
    pub notes: Vec<String>,
}

/// What serves now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServingStatus {
    /// Name of the Release.
    pub release: String,
    /// The commit (first 12 characters) or image digest that it was made from.
    pub revision: String,
    /// Its image, with digest.
    pub image: String,
}

/// The newest record of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatestStatus {
    /// Name of the newest Revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Name of the newest Build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Name of the newest Release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// One process of the serving Release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// The command that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How many pods are wanted.
    pub desired: i32,
    /// How many pods are ready.
    pub ready: i32,
}
