//! What a plan is made from.

use jiff::Timestamp;
use slipway_crds::v1alpha1::{App, ReleaseSite};

use crate::controllers::app::{
    config::build_env, lookup::Source, observe::Observed, referred::Referred,
};
use slipway_core::{
    decide::build,
    domain::{app::ValidApp, env::HashKey},
};

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The App.
    pub app: &'a App,
    /// The same App, validated.
    pub valid: &'a ValidApp,
    /// What exists.
    pub observed: &'a Observed,
    /// The result of its look-up.
    pub source: &'a Source,
    /// The operator's key.
    pub key: &'a HashKey,
    /// Its build's variables.
    pub variables: &'a Variables,
    /// What an administrator has set for pods.
    pub site: &'a ReleaseSite,
    /// The present.
    pub now: Timestamp,
}

/// Hashes of the variables of a build.
#[derive(Debug)]
pub(super) struct Variables {
    /// Of the values that a build would get now.
    pub(super) found: String,
    /// Of what the spec says about them.
    pub(super) named: String,
}

impl Variables {
    /// The hashes as they are now.
    pub(super) fn of(app: &ValidApp, referred: &Referred, key: &HashKey) -> Self {
        Self {
            found: build_env(app, referred, key),
            named: build::variables(&app.build.env),
        }
    }
}
