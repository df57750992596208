//! What exists of an App besides its pods.

use k8s_openapi::api::apps::v1::ReplicaSet;
use slipway_core::desired::{Found, Objects};
use slipway_crds::v1alpha1::Release;

/// What exists, according to the caches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The App's Releases, in the order of their numbers.
    pub(crate) releases: Vec<Release>,
    /// Objects that were made from its Releases and may have to be deleted. Claims may be those of an earlier App of
    /// this name.
    pub(crate) objects: Objects<Found>,
    /// ReplicaSets of its Deployments.
    pub(crate) replica_sets: Vec<ReplicaSet>,
}
