//! What should run, and the App's Releases → the wanted Release: an existing one, or a new one and its cause. Pure.

mod inputs;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use slipway_crds::v1alpha1::{Release, ReleasePhase, ReleaseSite, ReleaseSpec};

pub use crate::decide::release::{inputs::inputs, retry::retry_at};
use crate::{
    decide::release::{inputs::cause, retry::is_retried},
    domain::env::Config,
    order,
};

/// The input of [`verdict`].
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What should run; its number, cause and inputs are ignored.
    pub draft: &'a ReleaseSpec,
    /// Its config.
    pub config: &'a Config,
    /// The App's Releases.
    pub releases: &'a [Release],
    /// Config of earlier Releases by name of the Secret, if the Secret still exists.
    pub configs: &'a BTreeMap<String, Config>,
    /// Whether a user asked for another attempt.
    pub retry: bool,
    /// Whether a user asked for a Release with the operator's present rules and settings.
    pub rerender: bool,
    /// The highest number that the App's status records, even if that Release no longer exists.
    pub last: Option<i64>,
    /// The current time.
    pub now: Timestamp,
}

/// Which Release is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// This existing Release, whether it serves or failed.
    Exists(&'a Release),
    /// A new Release.
    Make {
        /// Its number.
        number: i64,
        /// Why it is made.
        cause: String,
        /// Hash of its inputs.
        inputs: String,
    },
}

/// The Release with the highest number.
pub fn newest(releases: &[Release]) -> Option<&Release> {
    order::newest(releases)
}

/// The Release that should run: the newest, or, if that has failed, the last that served. A Release that was superseded
/// before it served does not count, as nobody knows whether its checks would have passed.
pub fn target(releases: &[Release]) -> Option<&Release> {
    let newest = newest(releases)?;
    if phase(newest) != ReleasePhase::Failed {
        return Some(newest);
    }
    order::newest(releases.iter().filter(|release| has_served(release)))
}

/// The Release that serves: the one with the highest number that passed its checks.
pub fn serving(releases: &[Release]) -> Option<&Release> {
    let serving = |release: &&Release| phase(release) == ReleasePhase::Serving;
    order::newest(releases.iter().filter(serving))
}

/// The phase of a Release.
pub fn phase(release: &Release) -> ReleasePhase {
    release.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

/// Whether a Release has served once and has not failed since.
fn has_served(release: &Release) -> bool {
    let status = release.status.as_ref();
    match phase(release) {
        ReleasePhase::Failed => false,
        ReleasePhase::Serving => true,
        ReleasePhase::Pending | ReleasePhase::Deploying | ReleasePhase::Superseded => {
            status.is_some_and(|status| status.deployed_at.is_some())
        }
    }
}

/// Decides which Release is wanted.
pub fn verdict<'a>(input: &Input<'a>) -> Verdict<'a> {
    let wanted = inputs(input.draft);
    let newest = newest(input.releases);
    let fits =
        |release: &Release| release.spec.inputs == wanted && !is_rendered_anew(release, input);
    if let Some(newest) = newest {
        // The newest Release failed, and the one that serves instead is what the App asks for now. If both have the
        // wanted inputs, the one with the present settings of the site is wanted.
        if let Some(target) = target(input.releases)
            && target.spec.number < newest.spec.number
            && fits(target)
            && (newest.spec.inputs != wanted
                || (has_settings_of_now(target, input) && !has_settings_of_now(newest, input)))
        {
            return Verdict::Exists(target);
        }
        if fits(newest) && !is_retried(newest, input) {
            return Verdict::Exists(newest);
        }
    }
    Verdict::Make {
        number: newest
            .map(|newest| newest.spec.number)
            .max(input.last)
            .unwrap_or_default()
            .saturating_add(1),
        cause: cause(input, newest),
        inputs: wanted,
    }
}

/// Whether a request for the present rules and settings makes the Release again: if it was made with other rules or
/// settings, or if it failed, because the cause may have been something else that is corrected now.
fn is_rendered_anew(release: &Release, input: &Input<'_>) -> bool {
    let is_of_now =
        release.spec.site == input.draft.site && release.spec.renderer == input.draft.renderer;
    input.rerender && (!is_of_now || phase(release) == ReleasePhase::Failed)
}

fn has_settings_of_now(release: &Release, input: &Input<'_>) -> bool {
    match (&release.spec.site, &input.draft.site) {
        (Some(own), Some(now)) => changed_settings(own, now).is_empty(),
        (own, now) => own == now,
    }
}

/// Names of the settings that differ. The image of the operator's programs is left out: it changes with every version
/// of the operator, and no administrator decided it.
pub fn changed_settings(before: &ReleaseSite, now: &ReleaseSite) -> Vec<&'static str> {
    let ReleaseSite {
        registry,
        pull_secret,
        program_image: _,
        drain_seconds,
    } = before;
    [
        ("registry address", *registry != now.registry),
        ("pull secret", *pull_secret != now.pull_secret),
        ("drain time", *drain_seconds != now.drain_seconds),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
