//! Objects → API server, in order; then what is no longer wanted goes.
//!
//! Every name is looked at before the first write: where one is taken, nothing is changed. A claim that exists and
//! cannot be changed as the App's storage asks keeps nothing else from being applied: it is left as it is, and told.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Service, ServiceAccount},
};
use kube::{Api, Client, Resource, ResourceExt, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use slipway_crds::v1alpha1::{App, Release, ReleaseStatus};

use crate::{
    controllers::release::{Error, observe::Observed, plan},
    desired::{Applied, Objects, Prepared},
    k8s::{
        FieldManager,
        apply::{ApplyError, apply_if_changed, patch_status},
        classify, ownership,
        prune::{delete, orphans},
    },
};

pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    objects: &Objects<Prepared>,
) -> Result<(Objects<Applied>, Option<Error>), Error> {
    let Objects {
        service_account,
        claims,
        service,
        deployments,
        stage: _,
    } = objects;
    let accounts = Kind::<ServiceAccount>::new(client, namespace);
    let volumes = Kind::<PersistentVolumeClaim>::new(client, namespace);
    let services = Kind::<Service>::new(client, namespace);
    let processes = Kind::<Deployment>::new(client, namespace);

    let account_pair = accounts.pair(service_account).await?;
    let mut claim_pairs = Vec::new();
    for claim in claims {
        claim_pairs.push(volumes.pair(claim).await?);
    }
    let service_pair = match service {
        Some(service) => Some(services.pair(service).await?),
        None => None,
    };
    let mut deployment_pairs = Vec::new();
    for deployment in deployments {
        deployment_pairs.push(processes.pair(deployment).await?);
    }

    let service_account = accounts.apply(account_pair).await?;
    let (mut applied_claims, mut refused) = (Vec::new(), None);
    for (claim, live) in claim_pairs {
        match (volumes.apply((claim, live.clone())).await, live) {
            (Ok(claim), _) => applied_claims.push(claim),
            (Err(error), Some(live)) if error.is_refusal() => {
                refused = Some(Error::Claim {
                    name: live.name_any(),
                    why: error.refusal().unwrap_or_default().to_owned(),
                });
                applied_claims.push(live);
            }
            (Err(error), _) => return Err(error),
        }
    }
    let service = match service_pair {
        Some(pair) => Some(services.apply(pair).await?),
        None => None,
    };
    let mut applied_deployments = Vec::new();
    for pair in deployment_pairs {
        applied_deployments.push(processes.apply(pair).await?);
    }
    let objects = Objects::new(
        service_account,
        applied_claims,
        service,
        applied_deployments,
    );
    Ok((objects, refused))
}

/// Objects of one kind.
struct Kind<K> {
    api: Api<K>,
}

/// What is wanted, and what is there.
type Pair<'a, K> = (&'a K, Option<K>);

impl<K> Kind<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    fn new(client: &Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
        }
    }

    /// The wanted object beside the live one.
    async fn pair<'a>(&self, desired: &'a K) -> Result<Pair<'a, K>, Error> {
        let name = desired.name_any();
        let live = self.api.get_opt(&name).await;
        let live = live.map_err(|source| Error::read("objects", source))?;
        if let Some(live) = &live {
            if live.meta().deletion_timestamp.is_some() {
                return Err(Error::Going {
                    kind: K::kind(&()).into_owned(),
                    name,
                });
            }
            match ownership::check(desired, live) {
                Ok(()) => {}
                Err(_) if was_of_the_same_app(desired, live) => {
                    return Err(Error::Going {
                        kind: K::kind(&()).into_owned(),
                        name,
                    });
                }
                Err(taken) => return Err(ApplyError::NameTaken(taken).into()),
            }
        }
        Ok((desired, live))
    }

    async fn apply(&self, (desired, live): Pair<'_, K>) -> Result<K, Error> {
        // On the heap: a future of each kind within the reconcile's own would make it a big one.
        let apply = apply_if_changed(&self.api, FieldManager::Release, desired, live.as_ref());
        Ok(Box::pin(apply).await?.object)
    }
}

/// Whether `live` is controlled by an App of the same name that was deleted: it goes by itself.
fn was_of_the_same_app<K: Resource>(desired: &K, live: &K) -> bool {
    let controller = |object: &K| {
        object
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .cloned()
    };
    match (controller(desired), controller(live)) {
        (Some(wanted), Some(found)) => {
            found.kind == wanted.kind && found.name == wanted.name && found.uid != wanted.uid
        }
        _ => false,
    }
}

/// Deletes what the Release that serves does not want.
pub(crate) async fn prune(
    client: &Client,
    app: &App,
    release: &Release,
    objects: &Objects<Applied>,
    observed: &Observed,
) -> Result<(), Error> {
    let namespace = app.namespace().unwrap_or_default();
    let uid = app.uid().unwrap_or_default();
    let deployments = objects
        .deployments
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let services = objects.service.iter().map(ResourceExt::name_any).collect();
    let claims = plan::wanted_claims(app, release);
    remove(
        client,
        &namespace,
        &uid,
        &observed.deployments,
        &deployments,
    )
    .await?;
    remove(client, &namespace, &uid, &observed.services, &services).await?;
    remove(client, &namespace, &uid, &observed.claims, &claims).await
}

async fn remove<K>(
    client: &Client,
    namespace: &str,
    uid: &str,
    existing: &[K],
    wanted: &BTreeSet<String>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    for orphan in orphans(existing, uid, wanted) {
        tracing::info!(kind = %K::kind(&()), name = orphan.name_any(), "no longer wanted");
        delete(&api, orphan).await.map_err(|source| Error::Delete {
            name: orphan.name_any(),
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// Writes the status of `release`, if it says anything new.
pub(crate) async fn write_status(
    client: &Client,
    release: &Release,
    status: &ReleaseStatus,
) -> Result<bool, Error> {
    let api: Api<Release> =
        Api::namespaced(client.clone(), &release.namespace().unwrap_or_default());
    let written = patch_status(
        &api,
        FieldManager::Release,
        release,
        status,
        release.status.as_ref(),
    )
    .await;
    match written {
        Ok(wrote) => Ok(wrote),
        // It was deleted meanwhile: nobody wants its status.
        Err(ApplyError::Api { source, .. }) if classify::is_not_found(&source) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
