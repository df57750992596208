//! What there is of an App beside its pods.

use k8s_openapi::api::apps::v1::ReplicaSet;
use slipway_core::desired::{Found, Objects};
use slipway_crds::v1alpha1::Release;

/// What is there, as the caches have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The App's Releases, in the order of their numbers.
    pub(crate) releases: Vec<Release>,
    /// Objects that were made from its Releases and may have to go. Claims may be those of an App of this name before.
    pub(crate) objects: Objects<Found>,
    /// ReplicaSets of its Deployments.
    pub(crate) replica_sets: Vec<ReplicaSet>,
}
