//! The objects of one Release, in the order in which they are applied.

use std::marker::PhantomData;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
};

/// State of objects that are desired and not yet applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {}

/// State of objects as the API server returned them. Statuses are derived only from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// The objects of one Release. Code that applies them destructures this without `..`, so that it forgets none.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects<Stage> {
    /// The ServiceAccount of the pods, without any rights.
    pub service_account: ServiceAccount,
    /// The claims that the pods mount.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The Service of `web`, if the Release has this process.
    pub service: Option<Service>,
    /// One Deployment for each process.
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
