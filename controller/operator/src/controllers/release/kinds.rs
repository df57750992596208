//! The kinds of objects that are made from a Release, one entry each, in the order in which they are written. An entry
//! says when the objects are written and when leftovers are deleted; `core/src/desired/objects` says what is in them.

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
