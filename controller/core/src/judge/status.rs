//! A finding about a Release → its status. Pure; the same finding again changes nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    v1alpha1::{Release, ReleaseFailure, ReleasePhase, ReleaseStatus},
};

use crate::{conditions::Conditions, decide::release::phase, judge::trouble::Trouble};

/// What is found about a Release.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding<'a> {
    /// It rolls out.
    Deploying(&'a str),
    /// It serves.
    Serving,
    /// It failed; with the last lines of the container that failed.
    Failed(&'a Trouble, &'a [String]),
    /// It has served, and pods of it are missing; with the last lines of the container that ended.
    Down(&'a Trouble, &'a [String]),
    /// A newer one took over.
    Superseded(&'a Release),
    /// Its objects cannot be written.
    Blocked {
        /// Why.
        reason: Reason,
        /// Why, in words.
        message: &'a str,
        /// Whether somebody has to change something.
        stalled: bool,
    },
}

/// The status of `release`.
pub fn status(release: &Release, finding: &Finding<'_>, now: Timestamp) -> ReleaseStatus {
    let before = release.status.clone().unwrap_or_default();
    let time = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let status = ReleaseStatus {
        observed_generation: release.metadata.generation,
        conditions: conditions(release, &before.conditions, finding, now),
        ..before
    };
    match finding {
        // An older Release that has to run again gets a new roll-out.
        Finding::Deploying(_) => ReleaseStatus {
            started_at: status
                .started_at
                .filter(|_| status.phase == ReleasePhase::Deploying)
                .or(Some(time)),
            phase: ReleasePhase::Deploying,
            failure: None,
            ..status
        },
        Finding::Serving => ReleaseStatus {
            phase: ReleasePhase::Serving,
            deployed_at: status.deployed_at.or(Some(time)),
            failure: None,
            ..status
        },
        Finding::Failed(trouble, lines) => ReleaseStatus {
            phase: ReleasePhase::Failed,
            failure: Some(failure(trouble, lines)),
            ..status
        },
        Finding::Down(trouble, lines) => ReleaseStatus {
            phase: ReleasePhase::Serving,
            failure: Some(failure(trouble, lines)),
            ..status
        },
        Finding::Superseded(_) => ReleaseStatus {
            phase: ReleasePhase::Superseded,
            failure: None,
            ..status
        },
        Finding::Blocked { stalled, .. } => ReleaseStatus {
            phase: phase(release),
            // The attempts count from this time.
            started_at: status.started_at.or((!stalled).then_some(time)),
            ..status
        },
    }
}

fn conditions(
    release: &Release,
    before: &[Condition],
    finding: &Finding<'_>,
    now: Timestamp,
) -> Vec<Condition> {
    let conditions = Conditions::new(before, release.metadata.generation, now);
    let conditions = match finding {
        Finding::Deploying(message) => conditions
            .set(types::READY, false, Reason::Deploying, *message)
            .set(types::RECONCILING, true, Reason::Progressing, *message),
        Finding::Serving => {
            let name = release.metadata.name.as_deref().unwrap_or_default();
            let message = format!("{name} serves {}", release.spec.revision_id);
            conditions.set(types::READY, true, Reason::Deployed, message)
        }
        Finding::Failed(trouble, _) => conditions
            .set(types::READY, false, trouble.reason, &*trouble.message)
            .set(types::STALLED, true, trouble.reason, &*trouble.message),
        // The kubelet and the deployment controller keep trying.
        Finding::Down(trouble, _) => conditions
            .set(types::READY, false, trouble.reason, &*trouble.message)
            .set(types::RECONCILING, true, trouble.reason, &*trouble.message),
        Finding::Superseded(by) => {
            let by = by.metadata.name.as_deref().unwrap_or_default();
            let message = format!("{by} took over");
            conditions.set(types::READY, false, Reason::Superseded, message)
        }
        Finding::Blocked {
            reason,
            message,
            stalled,
        } => conditions
            .set(types::READY, false, *reason, *message)
            .set(types::RECONCILING, !stalled, *reason, *message)
            .set(types::STALLED, *stalled, *reason, *message),
    };
    conditions.build()
}

/// Whether `release` is reported as not ready for this reason.
pub fn is_for(release: &Release, reason: Reason) -> bool {
    release.is(types::READY, "False") && release.is_for(types::READY, reason)
}

fn failure(trouble: &Trouble, lines: &[String]) -> ReleaseFailure {
    let Trouble {
        reason,
        message,
        process,
        container,
    } = trouble;
    ReleaseFailure {
        reason: reason.as_str().to_owned(),
        message: message.clone(),
        process: process.clone(),
        pod: container.as_ref().map(|container| container.pod.clone()),
        last_lines: lines.to_vec(),
    }
}

/// Releases below `target` that it replaces: those that never served and, once it serves, the one that served.
pub fn superseded<'a>(
    releases: &'a [Release],
    target: &'a Release,
    serves: bool,
) -> impl Iterator<Item = &'a Release> {
    releases
        .iter()
        .filter(|release| release.spec.number < target.spec.number)
        .filter(move |release| match phase(release) {
            ReleasePhase::Pending | ReleasePhase::Deploying => true,
            ReleasePhase::Serving => serves,
            ReleasePhase::Superseded | ReleasePhase::Failed => false,
        })
}
