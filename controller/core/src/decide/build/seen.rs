//! How an existing Build differs from the one that would be made now, and how it ended.

use sha2::{Digest as _, Sha256};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    labels,
    v1alpha1::{Build, BuildEnvVar, BuildPhase, BuildSource},
};

use crate::{decide::build::input::Input, domain::app::BuildInputs};

/// A hash of variables as a spec names them. Their order does not matter.
pub fn variables(env: &[BuildEnvVar]) -> String {
    let mut env: Vec<&BuildEnvVar> = env.iter().collect();
    env.sort_by(|a, b| a.name.cmp(&b.name));
    // Plain data always has a JSON form.
    let json = serde_json::to_vec(&env).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}

/// The entry that replaces a Build's variables if the cache keeps only a part of the Build. Its name is empty, which no
/// variable of a spec can have.
pub fn in_brief(env: &[BuildEnvVar]) -> BuildEnvVar {
    BuildEnvVar {
        value: Some(variables(env)),
        ..BuildEnvVar::default()
    }
}

/// Names of variables whose entry in the spec has changed since the Build. For a failed Build these are all such
/// variables. Otherwise only those that come from a Secret or ConfigMap: the spec marks these for builds (`build:
/// true`), while most literals concern only the running App.
pub fn outdated<'a>(build: &'a Build, inputs: &'a BuildInputs) -> Vec<&'a str> {
    let failed = build
        .status
        .as_ref()
        .is_some_and(|s| s.phase == BuildPhase::Failed);
    let before = &build.spec.env;
    let changed = inputs.env.iter().filter(|now| !before.contains(now));
    let named = |name: &str| inputs.env.iter().any(|now| now.name == name);
    let gone = before.iter().filter(|variable| !named(&variable.name));
    changed
        .chain(gone)
        .filter(|variable| failed || variable.value_from.is_some())
        .map(|variable| variable.name.as_str())
        .collect()
}

/// Whether the spec still names the same variables as when the Build was made.
pub(super) fn has_variables(build: &Build, input: &Input<'_>) -> bool {
    let (before, now) = (&build.spec.env, &input.inputs.env);
    if let [brief] = before.as_slice()
        && brief.name.is_empty()
    {
        return brief.value.as_deref() == Some(input.variables);
    }
    before.len() == now.len() && before.iter().all(|variable| now.contains(variable))
}

/// Whether the next Build would get the same variables as this one. Builds of an older operator do not record this; for
/// them it is assumed, so that an upgrade of the operator makes no Build.
pub(super) fn found_the_same(build: &Build, input: &Input<'_>) -> bool {
    annotation(build, labels::BUILD_ENV).is_none_or(|found| found == input.env)
}

pub(super) fn annotation<'a>(build: &'a Build, name: &str) -> Option<&'a str> {
    let annotations = build.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

/// Where a commit is fetched from: the address, and the Secret with the credentials. A pushed commit is not fetched.
pub(super) fn origin(source: &BuildSource) -> Option<(&str, Option<&str>)> {
    let git = source.git.as_ref()?;
    let secret = git.secret_ref.as_ref().map(|s| s.name.as_str());
    Some((&git.url, secret))
}

/// Whether a new Build would get its commit from the same place.
pub(super) fn has_origin(build: &Build, input: &Input<'_>) -> bool {
    origin(&build.spec.source) == origin(input.source)
}

/// Whether the Build was interrupted from outside, and a new one would get its commit from the same place. False if a
/// user has cancelled the Build since, who then wants no more attempts.
pub(super) fn was_interrupted(build: &Build, input: &Input<'_>) -> bool {
    let given_up = annotation(build, labels::CANCEL) == Some("true");
    build.is_for(types::READY, Reason::BuildInterrupted) && has_origin(build, input) && !given_up
}

pub(super) fn was_overtaken(build: &Build) -> bool {
    build.is_for(types::READY, Reason::BuildSuperseded)
}
