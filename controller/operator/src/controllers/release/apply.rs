//! Objects → API server, in order; then what is no longer wanted goes.
//!
//! Every name is looked at before the first write: where one is taken, nothing is changed. A claim that exists and
//! cannot be changed as the App's storage asks keeps nothing else from being applied: it is left as it is, and told.

use std::collections::BTreeSet;

use kube::{Api, Client, Resource, ResourceExt, core::NamespaceResourceScope};
use slipway_crds::v1alpha1::{App, Release, ReleaseStatus};

use crate::controllers::{
    caches::Caches,
    release::{Error, observed::Observed, plan},
};
use slipway_core::desired::{self, Objects, Prepared};
use slipway_k8s::{
    FieldManager,
    apply::{Applied, ApplyError, apply_if_changed, patch_status_as_seen},
    cache::{Cache, Cached},
    classify, ownership,
    prune::{delete, orphans},
};

pub(crate) async fn apply(
    client: &Client,
    caches: &Caches,
    namespace: &str,
    objects: &Objects<Prepared>,
) -> Result<(Objects<desired::Applied>, Option<Error>), Error> {
    let Objects {
        service_account,
        claims,
        service,
        deployments,
        stage: _,
    } = objects;
    let accounts = Kind::new(client, namespace, &caches.service_accounts);
    let volumes = Kind::new(client, namespace, &caches.claims);
    let services = Kind::new(client, namespace, &caches.services);
    let processes = Kind::new(client, namespace, &caches.deployments);

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
struct Kind<'a, K> {
    api: Api<K>,
    namespace: &'a str,
    cache: &'a Cache<K>,
}

/// What is wanted, and what is there.
type Pair<'a, K> = (&'a K, Option<K>);

impl<'a, K> Kind<'a, K>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    fn new(client: &Client, namespace: &'a str, cache: &'a Cache<K>) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace,
            cache,
        }
    }

    /// The object of this name. What is not in the cache may be somebody else's, or too large to be in it.
    async fn live(&self, name: &str) -> Result<Option<K>, Error> {
        if let Some(kept) = self.cache.get(self.namespace, name)
            && kept.whole
            && let Ok(live) = kept.object.0
        {
            return Ok(Some(live));
        }
        let live = self.api.get_opt(name).await;
        live.map_err(|source| Error::read("objects", source))
    }

    /// The wanted object beside the live one.
    async fn pair<'b>(&self, desired: &'b K) -> Result<Pair<'b, K>, Error> {
        let name = desired.name_any();
        let live = self.live(&name).await?;
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
        let Applied { object, wrote } = Box::pin(apply).await?;
        if wrote {
            self.cache.put(&object, FieldManager::Release);
        }
        Ok(object)
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
    caches: &Caches,
    app: &App,
    release: &Release,
    objects: &Objects<desired::Applied>,
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
    let of = (client, namespace.as_str(), uid.as_str());
    let Caches {
        deployments: known,
        services: fronts,
        claims: volumes,
        ..
    } = caches;
    remove(of, known, &observed.deployments, &deployments).await?;
    remove(of, fronts, &observed.services, &services).await?;
    remove(of, volumes, &observed.claims, &claims).await
}

async fn remove<K>(
    (client, namespace, uid): (&Client, &str, &str),
    cache: &Cache<K>,
    existing: &[K],
    wanted: &BTreeSet<String>,
) -> Result<(), Error>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    for orphan in orphans(existing, uid, wanted) {
        tracing::info!(kind = %K::kind(&()), name = orphan.name_any(), "no longer wanted");
        delete(&api, orphan).await.map_err(|source| Error::Delete {
            name: orphan.name_any(),
            source: Box::new(source),
        })?;
        cache.remove(orphan, FieldManager::Release);
    }
    Ok(())
}

/// Writes the status of `release`, if it says anything new.
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
        // It was deleted meanwhile: nobody wants its status.
        Err(ApplyError::Api { source, .. }) if classify::is_not_found(&source) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
