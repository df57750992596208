//! A pod → which Release it belongs to, and since when it is ready. Pure.
//!
//! This file alone decides which pods count: those of processes, which have the label [`labels::PROCESS`] besides that
//! of their Release. The pod of an App's Job has the image, the config and the number of the Release, but not that
//! label: it neither delays a roll-out nor makes it fail.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt as _;
use slipway_crds::{labels, v1alpha1::Release};

/// Whether a pod belongs to a process of `release`, and is not terminating.
pub fn is_of(pod: &Pod, release: &Release) -> bool {
    pod.metadata.deletion_timestamp.is_none() && is_made_from(pod, release)
}

/// Whether a pod belongs to a process of `release`.
pub fn is_made_from(pod: &Pod, release: &Release) -> bool {
    let labels = pod.labels();
    labels.contains_key(labels::PROCESS)
        && labels.get(labels::RELEASE) == Some(&release.spec.number.to_string())
}

/// Whether the pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    readiness(pod).is_some_and(|condition| condition.status == "True")
}

/// When the pod's readiness became `status`; `None` if it is not `status` now.
pub(crate) fn changed(pod: &Pod, status: &str) -> Option<Timestamp> {
    let condition = readiness(pod).filter(|condition| condition.status == status)?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn readiness(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready")
}
