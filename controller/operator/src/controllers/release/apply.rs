//! Objects → API server, in order; then what is no longer wanted is deleted.
//!
//! Every name is checked before the first write: if one is taken, nothing is changed. A claim that exists and cannot be
//! changed as the App's storage asks does not stop the rest from being applied: it is left as it is, and reported.

use kube::{Api, Client, ResourceExt as _};
use slipway_crds::v1alpha1::{App, Release, ReleaseStatus};

use crate::controllers::release::{
    error::Error,
    kind::{AnyKind, Place, Written},
};
use slipway_core::desired::{Applied, Found, Objects, Prepared};
use slipway_k8s::{
    FieldManager,
    apply::{ApplyError, status::patch_status_as_seen},
    cache::Cache,
    classify,
};

/// Writes the objects of those `kinds` that are written at this time, and adds them to `applied`. Returns a refusal
/// that did not stop the rest.
pub(super) async fn apply(
    kinds: &[&dyn AnyKind],
    written: Written,
    place: Place<'_>,
    objects: &Objects<Prepared>,
    applied: &mut Objects<Applied>,
) -> Result<Option<Error>, Error> {
    let mut looked = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.written() == written) {
        looked.push(kind.look(place, objects).await?);
    }
    let mut told = None;
    for kind in looked {
        told = kind.write(applied).await?.or(told);
    }
    Ok(told)
}

/// Deletes what the serving Release does not want.
pub(super) async fn prune(
    kinds: &[&dyn AnyKind],
    place: Place<'_>,
    found: &Objects<Found>,
    wanted: &Objects<Prepared>,
    of: (&App, &Release),
) -> Result<(), Error> {
    // Dependent objects are deleted first: a Deployment before what its pods mount.
    for kind in kinds.iter().rev() {
        kind.prune(place, found, wanted, of).await?;
    }
    Ok(())
}

/// Writes the status of `release`, if it has changed.
pub(crate) async fn write_status(
    client: &Client,
    cache: &Cache<Release>,
    release: &Release,
    status: &ReleaseStatus,
) -> Result<bool, Error> {
    let api: Api<Release> =
        Api::namespaced(client.clone(), &release.namespace().unwrap_or_default());
    let before = release.status.as_ref();
    let written = patch_status_as_seen(&api, FieldManager::Release, release, status, before).await;
    match written {
        Ok(None) => Ok(false),
        Ok(Some(metadata)) => {
            let written = Release {
                metadata,
                spec: release.spec.clone(),
                status: Some(status.clone()),
            };
            cache.put(&written, FieldManager::Release);
            Ok(true)
        }
        // The Release was deleted meanwhile, so its status is not needed.
        Err(ApplyError::Api { source, .. }) if classify::is_not_found(&source) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
