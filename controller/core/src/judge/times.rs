//! Times of a roll-out: when it began, and when the nodes can be asked about a pod. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Release, ReleasePhase};

use crate::judge::pods::{is_of, is_ready};

/// How long nothing is asked about a pod whose status says that it is starting, and the reasons that say so.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Whether a pod was made a moment ago, and its status shows nothing wrong.
pub fn comes_up(pod: &Pod, now: Timestamp) -> bool {
    let made = pod
        .creation_timestamp()
        .map_or(Timestamp::MIN, |time| time.0);
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    let main = status.and_then(|s| s.container_statuses.as_ref());
    let mut containers = init.into_iter().chain(main).flatten();
    now.duration_since(made) < YOUNG
        && containers.all(|container| {
            let state = container.state.as_ref();
            let waiting = state.and_then(|s| s.waiting.as_ref()?.reason.as_deref());
            let ended = state.and_then(|s| s.terminated.as_ref());
            container.restart_count == 0
                && ended.is_none_or(|ended| ended.exit_code == 0)
                && waiting.is_none_or(|reason| STARTING.contains(&reason))
        })
}

/// When to look again, at the latest `after` from now. For a pod that does not start, the nodes' Events are read as
/// soon as it has had its time; no watch triggers that.
pub fn not_before_asked(
    pods: &[Pod],
    release: &Release,
    now: Timestamp,
    after: Duration,
) -> Duration {
    let young = |pod: &&Pod| is_of(pod, release) && !is_ready(pod) && comes_up(pod, now);
    if pods.iter().any(|pod| young(&pod)) {
        after.min(YOUNG.unsigned_abs())
    } else {
        after
    }
}

/// When the roll-out of `release` began.
pub fn started_at(release: &Release, now: Timestamp) -> Timestamp {
    since(release, &[ReleasePhase::Deploying], now)
}

/// Since when the operator tries to write the objects of `release`. Once they exist, the roll-out has its whole time.
pub fn tried_since(release: &Release, now: Timestamp) -> Timestamp {
    since(
        release,
        &[ReleasePhase::Pending, ReleasePhase::Deploying],
        now,
    )
}

fn since(release: &Release, phases: &[ReleasePhase], now: Timestamp) -> Timestamp {
    release
        .status
        .as_ref()
        .filter(|status| phases.contains(&status.phase))
        .and_then(|status| status.started_at.as_ref())
        .map_or(now, |time| time.0)
}
