//! App → [`ValidApp`]: what its author wants, with every default filled in and nothing that the operator cannot carry
//! out. Pure. Later stages read the `ValidApp` and never `App.spec`.

mod build;
mod ceilings;
mod error;
mod source;
mod storage;
#[cfg(test)]
mod tests;
mod values;

use std::{collections::BTreeMap, time::Duration};

use slipway_crds::{
    labels, names,
    v1alpha1::{
        App, AppSpec, Checks, Deadlines, Duration as Written, EnvFrom, EnvVar, PodSecurity,
        Process, ReleaseVolume,
    },
};

pub use crate::domain::app::{
    build::BuildInputs,
    ceilings::Ceilings,
    error::{FieldError, Invalid},
    source::{GitTarget, LookUp, ValidGit, ValidImage, ValidSource},
};
use crate::domain::{
    app::{error::Errors, values::literal},
    formation::is_process_name,
    repository::Repositories,
};

/// The operator's defaults for Apps, and the limits of what Apps may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Stack of builds.
    pub stack: String,
    /// Time limit of builds.
    pub timeout: Duration,
    /// How often a branch is looked up.
    pub interval: Duration,
    /// Protocols that git may speak.
    pub protocols: Vec<String>,
    /// The repositories of our own registry.
    pub repositories: Repositories,
    /// The most that an App gets.
    pub ceilings: Ceilings,
}

/// Default time limit of a Release's roll-out.
pub const DEPLOY: Written = Written::from_secs(300);
/// Default time in which a process has to end after SIGTERM.
pub const STOP: Written = Written::from_secs(30);
/// Default number of Builds and Releases to keep.
const HISTORY: usize = 10;
/// What an App's author wants.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidApp {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// Source.
    pub source: ValidSource,
    /// What goes into its builds.
    pub build: BuildInputs,
    /// Variables, in the order of the spec.
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose keys all become variables (`envFrom`), in the order of the spec.
    pub env_from: Vec<EnvFrom>,
    /// Processes that the spec names.
    pub processes: BTreeMap<String, Process>,
    /// Checks by process.
    pub checks: BTreeMap<String, Checks>,
    /// Volumes.
    pub volumes: Vec<ReleaseVolume>,
    /// Port, if the spec sets one.
    pub port: Option<i32>,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Pod Security Standard.
    pub pod_security: PodSecurity,
    /// How many ended Builds and how many Releases are kept.
    pub history_limit: usize,
    /// Which of its settings the administrator's maximums lower, in words.
    pub cut: Vec<String>,
    /// Whether the author suspended the App: the operator then changes nothing.
    pub suspend: bool,
    /// Value of the annotation that asks for a look-up.
    pub reconcile_requested: Option<String>,
    /// Value of the annotation that asks for a build.
    pub rebuild_requested: Option<String>,
    /// Value of the annotation that asks for a Release with the operator's present rules and settings.
    pub rerender_requested: Option<String>,
}

impl ValidApp {
    /// Checks what the API server's CEL rules cannot, and fills in every default.
    pub fn new(app: &App, defaults: &Defaults) -> Result<Self, Invalid> {
        let mut errors = Errors::default();
        let spec = &app.spec;
        let name = app.metadata.name.clone().unwrap_or_default();
        let namespace = app.metadata.namespace.clone().unwrap_or_default();
        if name.len() > names::APP_MAX {
            errors.add("metadata.name", "has more than 40 characters");
        }
        let source = source::source(app, defaults, &namespace, &mut errors);
        let build = build::build_inputs(app, defaults, &mut errors);
        for variable in &spec.env {
            literal(
                "spec.env",
                &variable.name,
                variable.value.as_deref(),
                &mut errors,
            );
        }
        processes(spec, &mut errors);
        let volumes = spec
            .storage
            .iter()
            .filter_map(|entry| storage::volume(&name, entry, spec.source.is_built(), &mut errors))
            .collect();
        let deadlines = spec.deadlines.clone().unwrap_or_default();
        let valid = source.map(|source| Self {
            uid: app.metadata.uid.clone().unwrap_or_default(),
            source,
            build,
            env: spec.env.clone(),
            env_from: spec.env_from.clone(),
            processes: spec.processes.clone(),
            checks: spec.checks.clone(),
            volumes,
            port: spec.port,
            deadlines: Deadlines {
                deploy: Some(deadlines.deploy.unwrap_or(DEPLOY)),
                stop: Some(deadlines.stop.unwrap_or(STOP)),
            },
            pod_security: spec.pod_security.unwrap_or_default(),
            history_limit: spec
                .history_limit
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(HISTORY)
                .min(defaults.ceilings.history.unwrap_or(usize::MAX)),
            cut: defaults.ceilings.cut(spec),
            suspend: spec.suspend,
            reconcile_requested: annotation(app, labels::RECONCILE_REQUESTED_AT),
            rebuild_requested: annotation(app, labels::REBUILD_REQUESTED_AT),
            rerender_requested: annotation(app, labels::RERENDER_REQUESTED_AT),
            name,
            namespace,
        });
        match valid {
            Some(valid) if errors.0.is_empty() => Ok(valid),
            _ => Err(Invalid(errors.0)),
        }
    }
}

/// Refuses processes that cannot be run as they are written.
fn processes(spec: &AppSpec, errors: &mut Errors) {
    for (process, asked) in &spec.processes {
        let field = format!("spec.processes.{process}");
        if !is_process_name(process) {
            errors.add(&field, "is no process name");
        }
        if asked.command.as_ref().is_some_and(|c| c.contains('\0')) {
            errors.add(format!("{field}.command"), "has a NUL byte in it");
        }
        values::resources(&field, asked.resources.as_ref(), errors);
    }
}

/// The beginning of an annotation's value, if it has one.
fn annotation(app: &App, key: &str) -> Option<String> {
    let value = app.metadata.annotations.as_ref()?.get(key)?;
    (!value.is_empty()).then(|| value.chars().take(256).collect())
}
