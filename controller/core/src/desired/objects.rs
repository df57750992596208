//! The objects of one Release, in the order in which they are applied.

use std::marker::PhantomData;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
};

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {}

/// What the API server answered. Status is derived from these only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// The objects of one Release. Whoever applies them takes them apart without `..`, so that none is forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects<Stage> {
    /// Which the pods run as: it may do nothing.
    pub service_account: ServiceAccount,
    /// Which the pods mount.
    pub claims: Vec<PersistentVolumeClaim>,
    /// In front of `web`, where the Release has one.
    pub service: Option<Service>,
    /// One a process.
    pub deployments: Vec<Deployment>,
    /// [`Prepared`] or [`Applied`].
    pub stage: PhantomData<Stage>,
}

impl<Stage> Objects<Stage> {
    /// These objects.
    pub fn new(
        service_account: ServiceAccount,
        claims: Vec<PersistentVolumeClaim>,
        service: Option<Service>,
        deployments: Vec<Deployment>,
    ) -> Self {
        Self {
            service_account,
            claims,
            service,
            deployments,
            stage: PhantomData,
        }
    }
}
