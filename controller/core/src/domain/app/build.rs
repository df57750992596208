//! `spec.build`, with the variables of `spec.env` that builds see.

use std::{collections::BTreeMap, time::Duration};

use slipway_crds::v1alpha1::{
    App, BuildEnvVar, Duration as Written, LEAST_BUILD_MEMORY, Resources,
};

use crate::domain::app::{
    Defaults,
    error::Errors,
    values::{literal, resources},
};

/// What goes into builds, apart from source and Stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInputs {
    /// Name of the Stack.
    pub stack: String,
    /// Buildpacks that the spec names.
    pub buildpacks: Vec<String>,
    /// `build.env`: a change makes a new Build.
    pub own_env: Vec<BuildEnvVar>,
    /// All variables of ENV_DIR: those of `spec.env` that builds see, and `build.env`, which wins.
    pub env: Vec<BuildEnvVar>,
    /// Time limit.
    pub timeout: Duration,
    /// Time limit if the spec sets one. A change of it makes a new Build; a change of the operator's default does not.
    pub own_timeout: Option<Written>,
    /// Resources of a build, if the spec sets them.
    pub resources: Option<Resources>,
}

pub(super) fn build_inputs(app: &App, defaults: &Defaults, errors: &mut Errors) -> BuildInputs {
    let asked = app.spec.build.clone().unwrap_or_default();
    for variable in &asked.env {
        literal(
            "spec.build.env",
            &variable.name,
            variable.value.as_deref(),
            errors,
        );
    }
    resources("spec.build", asked.resources.as_ref(), errors);
    limits_of_build(asked.resources.as_ref(), errors);
    let mut env: BTreeMap<&str, BuildEnvVar> = BTreeMap::new();
    for variable in &app.spec.env {
        if variable.value.is_some() || variable.build == Some(true) {
            env.insert(
                &variable.name,
                BuildEnvVar {
                    name: variable.name.clone(),
                    value: variable.value.clone(),
                    value_from: variable.value_from.clone(),
                },
            );
        }
    }
    for variable in &asked.env {
        env.insert(&variable.name, variable.clone());
    }
    BuildInputs {
        stack: asked.stack.unwrap_or_else(|| defaults.stack.clone()),
        buildpacks: asked.buildpacks,
        env: env.into_values().collect(),
        own_env: asked.env,
        timeout: asked.timeout.map_or(defaults.timeout, Written::get),
        own_timeout: asked.timeout,
        resources: asked.resources,
    }
}

/// Refuses limits that are 0 or too low: a Docker Engine takes 0 for no limit, and refuses one that is almost 0.
fn limits_of_build(asked: Option<&Resources>, errors: &mut Errors) {
    let Some(limits) = asked.and_then(|asked| asked.limits.as_ref()) else {
        return;
    };
    let least_memory = i128::from(LEAST_BUILD_MEMORY) * 1_000_000_000;
    for (what, limit, least) in [
        ("cpu", &limits.cpu, 1),
        ("memory", &limits.memory, least_memory),
    ] {
        let Some(limit) = limit else { continue };
        if limit.nanos().is_none_or(|nanos| nanos >= least) {
            continue;
        }
        let meant = limit.0.strip_suffix('m').filter(|_| what == "memory");
        let advice = meant.map_or_else(
            || "give it more".to_owned(),
            |number| format!("m is a thousandth of a byte, was {number}Mi meant? Give it more"),
        );
        errors.add(
            format!("spec.build.resources.limits.{what}"),
            format!(
                "no build can run with {}: {advice}, or leave it out for what this installation gives to builds",
                limit.0
            ),
        );
    }
}
