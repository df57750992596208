//! A pod → which Release it is of, and since when it is ready. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt as _;
use slipway_crds::{labels, v1alpha1::Release};

/// Whether a pod was made from `release`, and is not on its way out.
pub(super) fn is_of(pod: &Pod, release: &Release) -> bool {
    pod.metadata.deletion_timestamp.is_none() && is_made_from(pod, release)
}

/// Whether a pod was made from `release`.
pub(super) fn is_made_from(pod: &Pod, release: &Release) -> bool {
    pod.labels().get(labels::RELEASE) == Some(&release.spec.number.to_string())
}

/// Whether the pod is ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    readiness(pod).is_some_and(|condition| condition.status == "True")
}

/// When the pod's readiness became `status`; none if it is not that.
pub(super) fn changed(pod: &Pod, status: &str) -> Option<Timestamp> {
    let condition = readiness(pod).filter(|condition| condition.status == status)?;
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn readiness(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready")
}
