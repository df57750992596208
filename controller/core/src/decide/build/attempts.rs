//! Attempts with the same inputs: which ones exist, whether the last one is final, and when the next one is due.

use jiff::{SignedDuration, Timestamp};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    labels,
    v1alpha1::{Build, BuildPhase},
};

use crate::decide::build::{
    hash::{inputs, name},
    input::Input,
    seen::{annotation, found_the_same, has_origin, has_variables, was_interrupted, was_overtaken},
};

/// Delay of the next attempt after the first interruption in a row, the second, and so on. After the last there is no
/// further attempt. Together they outlast an outage of a few hours, as those of Releases do.
const RETRY_AFTER: [SignedDuration; RETRIES] = [
    SignedDuration::from_secs(10),
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(6),
    SignedDuration::from_mins(20),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(3),
];

/// The number of these delays. Each Build records it in an annotation.
pub const RETRIES: usize = 6;

/// The number of these delays for Builds without that annotation, which an older operator made.
const RETRIES_UNNOTED: usize = 3;

/// Most attempts in a row for an unchanged spec whose referenced values (Secrets, ConfigMaps) change. Otherwise a token
/// that is renewed every hour would start a failing Build every hour.
const VALUES: i64 = 4;

/// How many attempts in a row may have been pruned before one of an older operator's that still exists.
const PRUNED: i64 = 32;

/// Builds of these inputs, in the order of their attempts.
pub(super) fn attempts<'a>(input: &Input<'a>, request: Option<&str>) -> Vec<(i64, &'a Build)> {
    let inputs = inputs(input, request);
    let (noted, unnoted): (Vec<_>, Vec<_>) =
        (input.builds.iter()).partition(|build| build.spec.inputs.is_some());
    let mut found: Vec<(i64, &Build)> = noted
        .into_iter()
        .filter(|build| build.spec.inputs.as_ref() == Some(&inputs))
        .map(|build| (build.spec.attempt.unwrap_or(1), build))
        .collect();
    let last = found.iter().map(|(attempt, _)| *attempt).max();
    found.extend(guessed(input, request, &unnoted, last.unwrap_or_default()));
    found.sort_by_key(|(attempt, _)| *attempt);
    found
}

/// The attempts among an older operator's Builds, which do not record their inputs: those with the name of an attempt
/// with these inputs. `last` is an attempt that is known to exist, or 0.
fn guessed<'a>(
    input: &Input<'_>,
    request: Option<&str>,
    builds: &[&'a Build],
    mut last: i64,
) -> Vec<(i64, &'a Build)> {
    let mut found = Vec::new();
    let mut attempt = 1;
    while !builds.is_empty() && attempt <= last.max(1) + PRUNED {
        let name = name(input, request, attempt);
        let is_it = |build: &&&Build| build.metadata.name.as_deref() == Some(&name);
        if let Some(build) = builds.iter().find(is_it) {
            found.push((attempt, *build));
            last = last.max(attempt);
        }
        attempt += 1;
    }
    found
}

/// Whether an existing Build of these inputs is the wanted one. It is not if a newer commit superseded it, or if it
/// failed or waits for a missing reference and the spec or a value that it uses has changed since.
pub(super) fn stands(build: &Build, input: &Input<'_>, attempts: &[(i64, &Build)]) -> bool {
    let phase = build.status.as_ref().map(|s| s.phase).unwrap_or_default();
    match phase {
        BuildPhase::Failed => {
            let tried = has_variables(build, input) && with_these(attempts, input) >= VALUES;
            has_origin(build, input) && (found_the_same(build, input) || tried)
        }
        BuildPhase::Pending if build.is_for(types::READY, Reason::ReferenceMissing) => {
            has_origin(build, input) && has_variables(build, input)
        }
        BuildPhase::Cancelled => !was_overtaken(build),
        BuildPhase::Pending
        | BuildPhase::Fetching
        | BuildPhase::Building
        | BuildPhase::Exporting
        | BuildPhase::Succeeded => true,
    }
}

/// How many attempts in a row, pruned ones included, had the variables that the spec names now.
fn with_these(attempts: &[(i64, &Build)], input: &Input<'_>) -> i64 {
    let mut newer = attempts.iter().rev();
    let last = newer.clone().next().map_or(0, |(last, _)| *last);
    let other = newer.find(|(_, build)| !has_variables(build, input));
    other.map_or(last, |(other, _)| last - other)
}

/// When to make another attempt, if the last one was interrupted. Pruned attempts count as interrupted: too few
/// attempts are better than endlessly many.
pub(super) fn retry_at(attempts: &[(i64, &Build)], input: &Input<'_>) -> Option<Timestamp> {
    let (last, build) = attempts.last()?;
    if !was_interrupted(build, input) {
        return None;
    }
    let others = attempts.iter().rev();
    let mut before = others.filter(|(_, b)| !was_interrupted(b, input));
    let in_a_row = before.next().map_or(*last, |(other, _)| last - other);
    let done = usize::try_from(in_a_row - 1).ok()?;
    if done >= retries(build) {
        return None;
    }
    let wait = RETRY_AFTER.get(done)?;
    let finished = build.status.as_ref()?.finished_at.as_ref()?.0;
    finished.checked_add(*wait).ok()
}

/// The number of retries that applied when the Build was made. So a Build that an older operator gave up stays given
/// up.
fn retries(build: &Build) -> usize {
    let noted = annotation(build, labels::BUILD_RETRIES).and_then(|noted| noted.parse().ok());
    noted.unwrap_or(RETRIES_UNNOTED)
}
