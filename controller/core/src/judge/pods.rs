//! A pod → which Release it is of, and since when it is ready. Pure.
//!
//! Which pods count is decided here alone: those of processes, which have the label [`labels::PROCESS`] beside that of
//! their Release. A Job of the App has its image and config, and the number of its Release, but not that label: it
//! neither holds up a roll-out nor fails one.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt as _;
use slipway_crds::{labels, v1alpha1::Release};

/// Whether a pod is of a process of `release`, and not on its way out.
pub fn is_of(pod: &Pod, release: &Release) -> bool {
    pod.metadata.deletion_timestamp.is_none() && is_made_from(pod, release)
}

/// Whether a pod is of a process of `release`.
pub fn is_made_from(pod: &Pod, release: &Release) -> bool {
    let labels = pod.labels();
    labels.contains_key(labels::PROCESS)
        && labels.get(labels::RELEASE) == Some(&release.spec.number.to_string())
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    readiness(pod).is_some_and(|condition| condition.status == "True")
}

/// When the pod's readiness became `status`; none if it is not that.
pub(crate) fn changed(pod: &Pod, status: &str) -> Option<Timestamp> {
    let condition = readiness(pod).filter(|condition| condition.status == status)?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn readiness(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready")
}
