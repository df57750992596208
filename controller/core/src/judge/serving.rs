//! A Release that serves, and its pods → whether they are still there and, if not, what is wrong. Pure.
//!
//! ```text
//!             none of a process' pods is available ──────────────▶ Down, with the best explanation
//! Serving ──▶ one is in trouble that does not pass by itself ────▶ Down, though others serve
//!             one has been in some trouble for deadlines.deploy ─▶ Down, though others serve
//! Down ─────▶ none of that, and every restarted pod has been ready for STEADY ─▶ Serving
//! ```
//!
//! One pod more or less while others serve is normal, and is not reported. The operator does not go back to an earlier
//! Release: this one has served, and its present trouble would most likely affect the earlier one as well.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::Reason,
    labels,
    v1alpha1::{Release, ReleasePhase},
};

use crate::decide::release::phase;
use crate::judge::{
    pods::{changed, is_of},
    rollout::{Pods, deadline, pods_of},
    seen::Seen,
    trouble::{self, Trouble},
};

/// The state of a Release that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its pods are there, or others serve while one starts. Says when to look again, if no watch triggers that before.
    Serves(Option<Duration>),
    /// Pods are missing.
    Down(Trouble),
    /// Not known yet: the last reported state stays. Says when to look again.
    Unsure(Duration),
}

/// How long a restarted container has to be ready before the Release counts as recovered: a container that crashes
/// again and again is ready in between.
const STEADY: SignedDuration = SignedDuration::from_secs(60);
/// When to look again at a Deployment whose controller has not seen its latest version, if no watch triggers that
/// before.
const UNSEEN: Duration = Duration::from_secs(5);

/// Whether there is nothing to find out: the Release has all its pods, and is not reported as down.
pub fn is_whole(release: &Release, deployments: &[Deployment], sets: &[ReplicaSet]) -> bool {
    let whole = |deployment| {
        let pods = pods_of(release, deployment, sets);
        pods.current && pods.available >= pods.wanted
    };
    !is_down(release) && deployments.iter().all(whole)
}

/// Whether `release` is reported as serving and down.
fn is_down(release: &Release) -> bool {
    let failure = release.status.as_ref().and_then(|s| s.failure.as_ref());
    phase(release) == ReleasePhase::Serving && failure.is_some()
}

/// The last lines that were reported with this very trouble.
pub fn told_lines(release: &Release, trouble: &Trouble) -> Option<Vec<String>> {
    let failure = release.status.as_ref()?.failure.as_ref()?;
    let same = failure.message == trouble.message && failure.process == trouble.process;
    (same && is_down(release)).then(|| failure.last_lines.clone())
}

/// Judges a Release that serves.
pub fn evaluate(seen: Seen<'_>) -> Standing {
    let short: Vec<(&Deployment, Pods)> = seen
        .deployments
        .iter()
        .map(|deployment| {
            let pods = pods_of(seen.release, deployment, seen.replica_sets);
            (deployment, pods)
        })
        .filter(|(_, pods)| pods.available < pods.wanted || !pods.current)
        .collect();
    let mut again: Option<SignedDuration> = None;
    for (deployment, pods) in short.iter().filter(|(_, pods)| pods.current) {
        match of_process(&seen, deployment, pods) {
            Ok(left) => again = again.into_iter().chain(left).min(),
            // A trouble that was reported is reported again only if it is certain: between two crashes less is known.
            Err((trouble, false)) if is_told(seen.release, &trouble) => {
                return Standing::Unsure(positive(STEADY));
            }
            Err((trouble, _)) => return Standing::Down(trouble),
        }
    }
    if short.iter().any(|(_, pods)| !pods.current) {
        return Standing::Unsure(UNSEEN);
    }
    if is_down(seen.release)
        && let Some(left) = seen
            .pods
            .iter()
            .filter_map(|pod| unsteady(&seen, pod))
            .max()
    {
        return Standing::Unsure(positive(left));
    }
    Standing::Serves(again.map(positive))
}

/// Whether `release` is reported as down for this reason.
fn is_told(release: &Release, trouble: &Trouble) -> bool {
    let failure = release.status.as_ref().and_then(|s| s.failure.as_ref());
    let same = failure
        .is_some_and(|f| f.reason == trouble.reason.as_str() && f.process == trouble.process);
    same && is_down(release)
}

/// What is wrong with a process that has fewer pods than it should, and whether it is certain not to pass by itself. If
/// nothing has to be reported yet, when that may change.
fn of_process(
    seen: &Seen<'_>,
    deployment: &Deployment,
    pods: &Pods,
) -> Result<Option<SignedDuration>, (Trouble, bool)> {
    let own = |pod: &&Pod| {
        is_of(pod, seen.release) && pod.labels().get(labels::PROCESS) == Some(&pods.name)
    };
    let found: Vec<(&Pod, trouble::Found)> = seen
        .pods
        .iter()
        .filter(own)
        .map(|pod| (pod, trouble::of_pod(seen, pod)))
        .collect();
    let certain = found.iter().find_map(|(_, found)| found.certain.clone());
    if let Some(trouble) = certain.or_else(|| trouble::refused(deployment)) {
        return Err((trouble, true));
    }
    if pods.available == 0 {
        let likely = found.into_iter().find_map(|(_, found)| found.likely);
        let likely = likely.or_else(|| trouble::not_created(deployment));
        return Err((likely.unwrap_or_else(|| unexplained(pods)), false));
    }
    let mut again = None;
    for (pod, found) in found {
        let Some(trouble) = found.likely else {
            continue;
        };
        let lasted =
            unready_since(pod).map_or(SignedDuration::ZERO, |since| seen.now.duration_since(since));
        let left = deadline(seen.release).saturating_sub(lasted);
        if left <= SignedDuration::ZERO {
            return Err((trouble, false));
        }
        again = again.into_iter().chain([left]).min();
    }
    Ok(again)
}

fn unexplained(pods: &Pods) -> Trouble {
    Trouble {
        reason: Reason::Progressing,
        message: format!("no pod of {} is ready", pods.name),
        process: Some(pods.name.clone()),
        container: None,
    }
}

/// Since when the pod is not ready.
fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let created = pod.creation_timestamp().map(|time| time.0);
    changed(pod, "False").into_iter().chain(created).max()
}

/// How much longer a restarted pod is not trusted to be well again; `None` if it is.
fn unsteady(seen: &Seen<'_>, pod: &Pod) -> Option<SignedDuration> {
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let restarted = statuses.map(|status| status.restart_count).max()? > 0;
    if !restarted || !is_of(pod, seen.release) {
        return None;
    }
    let left = STEADY.saturating_sub(seen.now.duration_since(changed(pod, "True")?));
    (left > SignedDuration::ZERO).then_some(left)
}

fn positive(left: SignedDuration) -> Duration {
    Duration::try_from(left)
        .unwrap_or_default()
        .max(Duration::from_secs(1))
}
