//! All that is seen of a Release whose pods are judged.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
    discovery::v1::EndpointSlice,
};
use slipway_crds::v1alpha1::Release;

use crate::controllers::release::lines::Secrets;

/// What is seen of a roll-out.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The Release that rolls out.
    pub(crate) release: &'a Release,
    /// Its Deployments, as they are after apply.
    pub(crate) deployments: &'a [Deployment],
    /// ReplicaSets of the App.
    pub(crate) replica_sets: &'a [ReplicaSet],
    /// Pods of the App.
    pub(crate) pods: &'a [Pod],
    /// EndpointSlices of the Service in front of `web`, where there is one.
    pub(crate) slices: Option<&'a [EndpointSlice]>,
    /// Events about pods that are not ready.
    pub(crate) events: &'a [Event],
    /// What may not be told of what the App says.
    pub(crate) secrets: &'a Secrets,
    /// When the roll-out began.
    pub(crate) started_at: Timestamp,
    /// The present moment.
    pub(crate) now: Timestamp,
}
