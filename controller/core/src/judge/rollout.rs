//! Deployments, ReplicaSets, pods and their Events, EndpointSlices → the state of a Release's roll-out. Pure.
//!
//! ```text
//!              every process has its pods, ready for as long as uptime asks, old ones
//!              have left, and Service and nodes send requests to no other ───▶ Serving
//! Deploying ──▶ trouble that does not pass by itself ────────────────────────▶ Failed, at once
//!              deadlines.deploy ─────────────────────────────────────────────▶ Failed, with the best explanation
//! ```
//!
//! A terminating pod of the old Release is not counted. The roll-out does not wait until it has answered its last
//! request, but until the Service does not name it: a Deployment's counts may be ahead of the Service. Old pods that
//! stay do not make the new Release fail, and after the deadline they are ignored.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::ResourceExt as _;
use slipway_crds::{labels, v1alpha1::Release};

use crate::domain::{app::DEPLOY, checks::WEB};
use crate::judge::{
    endpoints,
    pods::is_of,
    seen::Seen,
    trouble::{self, Trouble},
};

/// The state of a roll-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All pods run, and only they get requests.
    Serving,
    /// Not yet.
    Progressing {
        /// What is waited for.
        message: String,
        /// When to look again, if no watch comes first.
        after: Duration,
    },
    /// It failed.
    Failed(Trouble),
}

/// How often a pod that is in trouble is looked at.
const TROUBLED: SignedDuration = SignedDuration::from_secs(5);

/// Judges a roll-out.
pub fn evaluate(seen: Seen<'_>) -> Verdict {
    let waiting: Vec<Process> = seen
        .deployments
        .iter()
        .map(|deployment| process(&seen, deployment))
        .filter(|process| !(process.ready && process.alone && process.reached))
        .collect();
    let left = left(seen.release, seen.started_at, seen.now);
    let is_over = left <= SignedDuration::ZERO;
    if waiting.is_empty() {
        let follow = seen.slices.and_then(|_| endpoints::left_to_follow(&seen));
        return match follow {
            Some(follow) if !is_over => progressing(alone(seen.release), follow),
            _ => Verdict::Serving,
        };
    }
    let message = message(seen.release, &waiting);
    if waiting.iter().all(|process| process.ready) {
        return if is_over {
            Verdict::Serving
        } else {
            progressing(message, left)
        };
    }
    let pods: Vec<&Pod> = seen
        .pods
        .iter()
        .filter(|pod| is_of(pod, seen.release))
        .collect();
    let found: Vec<trouble::Found> = pods.iter().map(|pod| trouble::of_pod(&seen, pod)).collect();
    let certain = found
        .iter()
        .find_map(|found| found.certain.clone())
        .or_else(|| seen.deployments.iter().find_map(trouble::refused));
    if let Some(trouble) = certain {
        return Verdict::Failed(trouble);
    }
    if is_over {
        let explained = found
            .into_iter()
            .find_map(|found| found.likely)
            .or_else(|| seen.deployments.iter().find_map(trouble::not_created));
        return Verdict::Failed(trouble::at_the_deadline(seen.release, explained, &message));
    }
    let troubled = found.iter().any(|found| found.likely.is_some());
    progressing(message, if troubled { left.min(TROUBLED) } else { left })
}

fn progressing(message: String, after: SignedDuration) -> Verdict {
    Verdict::Progressing {
        message,
        after: Duration::try_from(after)
            .unwrap_or_default()
            .max(Duration::from_secs(1)),
    }
}

/// How much of its time a Release has left.
pub fn left(release: &Release, started_at: Timestamp, now: Timestamp) -> SignedDuration {
    deadline(release).saturating_sub(now.duration_since(started_at))
}

/// How much time a Release has.
pub(crate) fn deadline(release: &Release) -> SignedDuration {
    let seconds = release.spec.deadlines.deploy.unwrap_or(DEPLOY).as_secs();
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// One process of the Release.
struct Process {
    name: String,
    wanted: i32,
    available: i32,
    /// All its pods are ready.
    ready: bool,
    /// It has no other pods.
    alone: bool,
    /// The Service in front of it sends requests only to its pods.
    reached: bool,
}

fn process(seen: &Seen<'_>, deployment: &Deployment) -> Process {
    let Pods {
        name,
        wanted,
        available,
        current,
    } = pods_of(seen.release, deployment, seen.replica_sets);
    let status = deployment.status.as_ref();
    let updated = status.and_then(|s| s.updated_replicas).unwrap_or_default();
    let all = status.and_then(|s| s.replicas).unwrap_or_default();
    let slices = seen.slices.filter(|_| name == WEB);
    Process {
        name,
        wanted,
        available,
        ready: current && updated >= wanted && available >= wanted,
        alone: all <= updated,
        reached: slices
            .is_none_or(|slices| endpoints::reach_only(seen.release, wanted, slices, seen.pods)),
    }
}

/// Pods that one process of a Release should have, and has.
pub(crate) struct Pods {
    /// The process.
    pub(crate) name: String,
    /// How many there should be. The Deployment has this number, whoever scales it.
    pub(crate) wanted: i32,
    /// How many of the Release are available.
    pub(crate) available: i32,
    /// Whether the deployment controller has seen the latest Deployment.
    pub(crate) current: bool,
}

/// Pods of `release` that `deployment` should have, and has.
pub(crate) fn pods_of(release: &Release, deployment: &Deployment, sets: &[ReplicaSet]) -> Pods {
    let number = release.spec.number.to_string();
    let available = sets
        .iter()
        .filter(|set| {
            set.labels().get(labels::RELEASE) == Some(&number)
                && set
                    .owner_references()
                    .iter()
                    .any(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
        })
        .filter_map(|set| set.status.as_ref()?.available_replicas)
        .sum();
    let name = deployment.labels().get(labels::PROCESS).cloned();
    let status = deployment.status.as_ref();
    Pods {
        name: name.unwrap_or_else(|| deployment.name_any()),
        wanted: deployment
            .spec
            .as_ref()
            .and_then(|s| s.replicas)
            .unwrap_or(1),
        available,
        current: status.and_then(|s| s.observed_generation) >= deployment.metadata.generation,
    }
}

/// The message for the status. It changes only when a pod or the Service does.
fn message(release: &Release, waiting: &[Process]) -> String {
    if waiting.iter().all(|process| process.ready) {
        let crowded: Vec<&str> = waiting
            .iter()
            .filter(|process| !process.alone)
            .map(|process| process.name.as_str())
            .collect();
        return if crowded.is_empty() {
            alone(release)
        } else {
            format!("the old pods of {} leave", crowded.join(", "))
        };
    }
    let each: Vec<String> = waiting
        .iter()
        .map(|process| {
            format!(
                "{} of {} {}",
                process.available.min(process.wanted),
                process.wanted,
                process.name
            )
        })
        .collect();
    format!("{} ready for as long as its checks ask", each.join(", "))
}

fn alone(release: &Release) -> String {
    let name = release.name_any();
    format!("waits until the Service sends requests to {name} alone")
}
