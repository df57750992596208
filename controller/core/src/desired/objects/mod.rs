//! The objects of one Release, in the order in which they are applied. One kind in each file.
//!
//! A further kind is a file here, a field and a line in each of [`Objects`], [`objects`] and `holds!`; when it is
//! written and when it goes is said in the operator's list of kinds.

mod claim;
mod deployment;
mod service;
mod service_account;

use std::marker::PhantomData;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
};

use crate::desired::Part;

/// State of objects that are desired and not yet applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {}

/// State of objects as the API server returned them. Statuses are derived only from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {}

/// State of objects that there were of an App before anything was applied: those of any of its Releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {}

/// The objects of an App, by kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects<Stage> {
    /// The ServiceAccount of the pods, without any rights.
    pub service_accounts: Vec<ServiceAccount>,
    /// The claims that the pods mount.
    pub claims: Vec<PersistentVolumeClaim>,
    /// The Service of `web`, if the Release has this process.
    pub services: Vec<Service>,
    /// One Deployment for each process.
    pub deployments: Vec<Deployment>,
    /// [`Prepared`], [`Applied`] or [`Found`].
    pub stage: PhantomData<Stage>,
}

impl<Stage> Default for Objects<Stage> {
    fn default() -> Self {
        Self {
            service_accounts: Vec::new(),
            claims: Vec::new(),
            services: Vec::new(),
            deployments: Vec::new(),
            stage: PhantomData,
        }
    }
}

pub(super) fn objects(part: &Part<'_>) -> Objects<Prepared> {
    Objects {
        service_accounts: vec![service_account::service_account(part)],
        claims: claim::claims(part),
        services: service::service(part).into_iter().collect(),
        deployments: deployment::deployments(part),
        stage: PhantomData,
    }
}

/// Has objects of the kind `K` among others.
pub trait Holds<K> {
    /// Those of this kind.
    fn held(&self) -> &[K];

    /// Where those of this kind are kept.
    fn held_mut(&mut self) -> &mut Vec<K>;
}

macro_rules! holds {
    ($($field:ident: $kind:ty),* $(,)?) => {$(
        impl<Stage> Holds<$kind> for Objects<Stage> {
            fn held(&self) -> &[$kind] {
                &self.$field
            }

            fn held_mut(&mut self) -> &mut Vec<$kind> {
                &mut self.$field
            }
        }
    )*};
}

holds! {
    service_accounts: ServiceAccount,
    claims: PersistentVolumeClaim,
    services: Service,
    deployments: Deployment,
}
