//! The kinds of objects that are made from a Release, in the order in which they are written: one entry each. When they
//! are written, and when what is left over goes, is said here; what is in them, in `core/src/desired/objects`.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
};

use crate::controllers::release::{
    error::Error,
    kind::{AnyKind, Kind, Leftovers, Refused, Written},
    plan,
};

/// All of them.
pub(super) const KINDS: &[&dyn AnyKind] = &[
    &Kind::<ServiceAccount> {
        cache: |caches| &caches.service_accounts,
        written: Written::BeforeServing,
        leftovers: Leftovers::Stay,
        refused: Refused::Ends,
    },
    &Kind::<PersistentVolumeClaim> {
        cache: |caches| &caches.claims,
        written: Written::BeforeServing,
        leftovers: Leftovers::GoUnless(plan::wanted_claims),
        refused: Refused::Told(|name, why| Error::Claim { name, why }),
    },
    &Kind::<Service> {
        cache: |caches| &caches.services,
        written: Written::BeforeServing,
        leftovers: Leftovers::Go,
        refused: Refused::Ends,
    },
    &Kind::<Deployment> {
        cache: |caches| &caches.deployments,
        written: Written::BeforeServing,
        leftovers: Leftovers::Go,
        refused: Refused::Ends,
    },
];
