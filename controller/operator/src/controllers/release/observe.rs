//! What exists: the App's Releases, its objects, and, during a roll-out, its pods and the nodes' Events about them.

use std::{collections::BTreeSet, iter};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{Event, Pod, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, LogParams},
};
use slipway_crds::{
    labels,
    v1alpha1::{App, Release},
};

use crate::controllers::{
    caches::Caches,
    history,
    release::{error::Error, kinds::KINDS, observed::Observed, plan},
};
use slipway_core::{
    desired::Objects,
    domain::repository::Repositories,
    judge::{
        lines::{self, Secrets},
        pods::{is_made_from, is_of, is_ready},
        times::comes_up,
        trouble::Container,
    },
    records::Owner,
};
use slipway_k8s::{brief, classify, ownership::owned_by, pages};

/// Most pods whose Events are read: those of more pods say the same.
const PODS: usize = 4;

pub(crate) async fn observe(
    client: &Client,
    caches: &Caches,
    app: &App,
    repositories: &Repositories,
) -> Result<Observed, Error> {
    let namespace = app.namespace().unwrap_or_default();
    let uid = app.uid().unwrap_or_default();
    let name = app.name_any();
    let owner = Owner {
        namespace: &namespace,
        name: &name,
        uid: &uid,
        repositories,
    };
    let releases = releases(client, caches, owner).await?;
    let mut objects = Objects::default();
    for kind in KINDS {
        kind.find(caches, &namespace, &name, &mut objects);
    }
    objects
        .deployments
        .retain(|deployment| owned_by(deployment, &uid));
    let owners: BTreeSet<Option<&str>> = objects
        .deployments
        .iter()
        .map(|deployment| deployment.metadata.uid.as_deref())
        .collect();
    let of_ours = |owner: &OwnerReference| owners.contains(&Some(owner.uid.as_str()));
    let mut replica_sets = caches.replica_sets.objects(&namespace, &name);
    replica_sets.retain(|set| set.owner_references().iter().any(of_ours));
    Ok(Observed {
        releases,
        objects,
        replica_sets,
    })
}

/// The App's Releases, in the order of their numbers.
async fn releases(
    client: &Client,
    caches: &Caches,
    owner: Owner<'_>,
) -> Result<Vec<Release>, Error> {
    let mut found = history::list(&caches.releases, owner);
    // The App's status reports these.
    if !found.strange.is_empty() {
        tracing::debug!(strange = ?found.strange, "Releases that do not count");
    }
    if let Some(said) = found.unreadable.pop() {
        return Err(Error::Unreadable(said));
    }
    let whole = |releases: &[Release]| {
        let target = plan::target(releases);
        let both = target
            .into_iter()
            .flat_map(|t| iter::once(t.release).chain(t.back_from));
        both.map(Release::name_any).collect()
    };
    history::complete(client, owner, &mut found, whole)
        .await
        .map_err(|source| Error::read("Releases", source))?;
    let mut releases = found.records;
    releases.sort_by_key(|release: &Release| release.spec.number);
    Ok(releases)
}

/// The complete Release, if the cache has it only in brief; `None` if it is gone.
pub(crate) async fn whole(
    client: &Client,
    caches: &Caches,
    release: &Release,
) -> Result<Option<Release>, Error> {
    let namespace = release.namespace().unwrap_or_default();
    let name = release.name_any();
    let is_it = |live: &Release| live.metadata.uid == release.metadata.uid;
    if let Some(kept) = caches.releases.get(&namespace, &name)
        && kept.whole
        && let Ok(live) = kept.object.0
    {
        return Ok(Some(live).filter(is_it));
    }
    let api: Api<Release> = Api::namespaced(client.clone(), &namespace);
    let live = classify::found(api.get(&name).await);
    let live = live.map_err(|source| Error::read("Releases", source))?;
    Ok(live.filter(is_it))
}

/// The objects, reduced to what `keep` leaves of each.
async fn items<K>(
    api: Api<K>,
    params: &ListParams,
    what: &'static str,
    mut keep: impl FnMut(K) -> Option<K> + Send,
) -> Result<Vec<K>, Error>
where
    K: Resource + Clone + serde::de::DeserializeOwned + Send,
{
    let mut kept = Vec::new();
    pages::each(&api, params.clone(), |item| kept.extend(keep(item)))
        .await
        .map_err(|source| Error::read(what, source))?;
    Ok(kept)
}

/// EndpointSlices of `service`: they name the pods that get its requests.
pub(crate) fn slices(caches: &Caches, app: &App, service: &Service) -> Vec<EndpointSlice> {
    let namespace = app.namespace().unwrap_or_default();
    let mut slices = caches.slices.objects(&namespace, &app.name_any());
    let name = service.name_any();
    slices.retain(|slice| slice.labels().get(brief::SERVICE_NAME) == Some(&name));
    slices
}

/// Pods of the processes of `release`.
pub(crate) fn pods(caches: &Caches, release: &Release) -> Vec<Pod> {
    let namespace = release.namespace().unwrap_or_default();
    let app = &release.spec.app;
    let mut pods = caches.pods.objects(&namespace, &app.name);
    pods.retain(|pod| {
        pod.labels().get(labels::APP_UID) == Some(&app.uid) && is_made_from(pod, release)
    });
    pods
}

/// The Events about those of `pods` that are not ready and either show a problem or have had some time: for a pod that
/// was just made there is nothing to learn.
pub(crate) async fn events(
    client: &Client,
    release: &Release,
    pods: &[Pod],
    now: Timestamp,
) -> Result<Vec<Event>, Error> {
    let namespace = release.namespace().unwrap_or_default();
    let mut events = Vec::new();
    let asked = pods
        .iter()
        .filter(|pod| is_of(pod, release) && !is_ready(pod) && !comes_up(pod, now))
        .filter_map(ResourceExt::uid)
        .take(PODS);
    for uid in asked {
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let found = items(api, &about, "Events", |mut event| {
            brief::event(&mut event);
            Some(event)
        });
        events.extend(found.await?);
    }
    Ok(events)
}

/// What must be removed from the App's output before it is shown: the values that came from Secrets. Whoever may read a
/// status may also read the App's spec, and ConfigMaps are not secret.
pub(crate) async fn secrets(
    client: &Client,
    app: &App,
    release: &Release,
) -> Result<Secrets, Error> {
    let namespace = release.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let config = classify::found(secrets.get(&release.spec.config_secret).await)
        .map_err(|source| Error::read("config Secret", source))?;
    Ok(config.map_or(Secrets::Unknown, |secret| confidential(app, &secret)))
}

/// The values in a config Secret that are not open. The Secret is not made again while its values stay the same, so a
/// variable that the spec now reads from a Secret is confidential even if the annotation says it is open.
pub(super) fn confidential(app: &App, config: &Secret) -> Secrets {
    let open: BTreeSet<&str> = config
        .annotations()
        .get(labels::OPEN_VARIABLES)
        .into_iter()
        .flat_map(|names| names.split(','))
        .collect();
    let of_secret = |name: &str| {
        let mut env = app.spec.env.iter().filter(|variable| variable.name == name);
        env.any(|v| {
            v.value_from
                .as_ref()
                .is_some_and(|from| from.secret_key_ref.is_some())
        })
    };
    let data = config.data.iter().flatten();
    Secrets::of(
        data.filter(|(name, _)| !open.contains(name.as_str()) || of_secret(name))
            .filter_map(|(_, value)| std::str::from_utf8(&value.0).ok()),
    )
}

/// The last lines that a container wrote, without secrets; none if there is no container. A log that is gone counts as
/// empty: the failure is reported all the same.
pub(crate) async fn last_lines(
    client: &Client,
    release: &Release,
    container: Option<&Container>,
    secrets: &Secrets,
) -> Vec<String> {
    let Some(container) = container else {
        return Vec::new();
    };
    let namespace = release.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pods = &pods;
    let ask = |previous| {
        let params = LogParams {
            container: Some(container.name.clone()),
            previous,
            tail_lines: i64::try_from(lines::MOST).ok(),
            limit_bytes: i64::try_from(lines::BYTES).ok(),
            ..LogParams::default()
        };
        async move { pods.logs(&container.pod, &params).await }.boxed()
    };
    match log(container.previous, ask).await {
        Ok(log) => lines::last(&log, secrets),
        Err(error) => {
            tracing::warn!(pod = container.pod, %error, "the log of a failed container cannot be read");
            Vec::new()
        }
    }
}

/// The log of a container's previous or present run, whichever is asked for or, if that does not exist, the other: the
/// container may have been restarted since the pod was read.
pub(super) async fn log<'a>(
    previous: bool,
    ask: impl Fn(bool) -> BoxFuture<'a, Result<String, kube::Error>>,
) -> Result<String, kube::Error> {
    let meant = ask(previous).await;
    if let Ok(log) = &meant
        && lines::is_log(log)
    {
        return meant;
    }
    match ask(!previous).await {
        Ok(log) if lines::is_log(&log) => Ok(log),
        // There may never have been another run.
        _ => meant.map(|_| String::new()),
    }
}
