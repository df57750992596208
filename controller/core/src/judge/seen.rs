//! The input for judging a Release's pods.

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
    discovery::v1::EndpointSlice,
};
use slipway_crds::v1alpha1::Release;

use crate::judge::lines::Secrets;

/// What was observed.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The Release.
    pub release: &'a Release,
    /// Its Deployments, as they are after apply.
    pub deployments: &'a [Deployment],
    /// ReplicaSets of the App.
    pub replica_sets: &'a [ReplicaSet],
    /// Pods of the App.
    pub pods: &'a [Pod],
    /// EndpointSlices of the Service in front of `web`, if there is one.
    pub slices: Option<&'a [EndpointSlice]>,
    /// Events about pods that are not ready.
    pub events: &'a [Event],
    /// What has to be removed from the App's output.
    pub secrets: &'a Secrets,
    /// When the roll-out began.
    pub started_at: Timestamp,
    /// The current time.
    pub now: Timestamp,
}
