//! All that is seen of a Release whose pods are judged.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
    discovery::v1::EndpointSlice,
};
use slipway_crds::v1alpha1::Release;

use crate::judge::lines::Secrets;

/// What is seen of a roll-out.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The Release that rolls out.
    pub release: &'a Release,
    /// Its Deployments, as they are after apply.
    pub deployments: &'a [Deployment],
    /// ReplicaSets of the App.
    pub replica_sets: &'a [ReplicaSet],
    /// Pods of the App.
    pub pods: &'a [Pod],
    /// EndpointSlices of the Service in front of `web`, where there is one.
    pub slices: Option<&'a [EndpointSlice]>,
    /// Events about pods that are not ready.
    pub events: &'a [Event],
    /// What may not be told of what the App says.
    pub secrets: &'a Secrets,
    /// When the roll-out began.
    pub started_at: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}
