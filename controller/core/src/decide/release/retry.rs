//! A Release that failed → whether it is made again, and when.

use jiff::{SignedDuration, Timestamp};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    v1alpha1::{Release, ReleasePhase},
};

use crate::decide::release::{Input, newest, phase};

/// Delay before a Release that failed because the registry was unavailable is made again: after the first such failure
/// in a row, the second, and so on. After the last, only a request makes it again.
const RETRY_AFTER: [SignedDuration; 5] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(15),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(3),
];

/// Whether a failed Release is made again: if there is another Build, which a user asked for; on request, if nothing is
/// built; or by itself, if the registry was unavailable.
pub(super) fn is_retried(newest: &Release, input: &Input<'_>) -> bool {
    phase(newest) == ReleasePhase::Failed
        && (newest.spec.build != input.draft.build
            || (input.draft.build.is_none() && input.retry)
            || retry_at(input.releases).is_some_and(|at| at <= input.now))
}

/// When the operator makes the newest Release again by itself, because it failed only while the registry was
/// unavailable. Pruned Releases count as such attempts, as nothing is known about them.
pub fn retry_at(releases: &[Release]) -> Option<Timestamp> {
    let newest = newest(releases)?;
    let failed_at = wanted_registry(newest)?;
    let is_try = |release: &&Release| {
        release.spec.inputs == newest.spec.inputs && wanted_registry(release).is_some()
    };
    let before = releases.iter().filter(|release| !is_try(release));
    let before = before.map(|release| release.spec.number).max();
    let in_a_row = newest.spec.number.checked_sub(before.unwrap_or_default())?;
    let wait = RETRY_AFTER.get(usize::try_from(in_a_row.checked_sub(1)?).ok()?)?;
    failed_at.checked_add(*wait).ok()
}

/// When a Release failed because the registry was unavailable; `None` if it did not.
fn wanted_registry(release: &Release) -> Option<Timestamp> {
    let status = release.status.as_ref()?;
    let ready = status.condition(types::READY)?;
    let reason = &status.failure.as_ref()?.reason;
    let wanted =
        phase(release) == ReleasePhase::Failed && *reason == Reason::RegistryUnavailable.as_str();
    wanted.then_some(ready.last_transition_time.0)
}
