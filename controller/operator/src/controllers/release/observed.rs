//! What there is of an App beside its pods.

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{PersistentVolumeClaim, Service},
};
use slipway_crds::v1alpha1::Release;

/// What is there, as the caches have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The App's Releases, in the order of their numbers.
    pub(crate) releases: Vec<Release>,
    /// Its Deployments.
    pub(crate) deployments: Vec<Deployment>,
    /// Their ReplicaSets.
    pub(crate) replica_sets: Vec<ReplicaSet>,
    /// Its Services.
    pub(crate) services: Vec<Service>,
    /// Claims with the App's name on them: they may be those of an App of this name before.
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}
