//! What is there: the App's Releases, its objects, and, while one rolls out, its pods and what the nodes say of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service},
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
    v1alpha1::{App, Release, ReleasePhase},
};

use crate::{
    controllers::{
        history,
        records::{Owner, Sorted},
        release::{
            Error,
            lines::{self, Secrets},
            plan, rollout,
            trouble::Container,
        },
    },
    domain::repository::Repositories,
    k8s::{brief, classify, ownership::owned_by, pages},
};

/// What is there. All but the Releases that matter is in brief: what is written to is read by its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The App's Releases, in the order of their numbers.
    pub(crate) releases: Vec<Release>,
    /// Its Deployments.
    pub(crate) deployments: Vec<Deployment>,
    /// Their ReplicaSets.
    pub(crate) replica_sets: Vec<ReplicaSet>,
    /// Its Services.
    pub(crate) services: Vec<Service>,
    /// Claims with the App's name on them: they may be those of an App of this name before.
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

/// Kubernetes' own label: the Service that an EndpointSlice is of.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Most pods whose Events are read: more say the same.
const PODS: usize = 4;

pub(crate) async fn observe(
    client: &Client,
    app: &App,
    repositories: &Repositories,
) -> Result<Observed, Error> {
    let namespace = app.namespace().unwrap_or_default();
    let uid = app.uid().unwrap_or_default();
    let ours = ListParams::default().labels(&format!("{}={uid}", labels::APP_UID));
    let named = ListParams::default().labels(&format!(
        "{}={},{}={}",
        labels::APP,
        app.name_any(),
        labels::MANAGED_BY,
        labels::SLIPWAY
    ));
    let of_app = ListParams::default().fields(&format!("spec.app.name={}", app.name_any()));
    let owner = Owner {
        namespace: &namespace,
        name: &app.name_any(),
        uid: &uid,
        repositories,
    };
    let releases = releases(client, owner, of_app).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployments = items(deployments, &ours, "Deployments", |mut deployment| {
        brief::deployment(&mut deployment);
        owned_by(&deployment, &uid).then_some(deployment)
    });
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let services = items(services, &ours, "Services", |mut service| {
        brief::service(&mut service);
        owned_by(&service, &uid).then_some(service)
    });
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let claims = items(claims, &named, "PersistentVolumeClaims", |mut claim| {
        brief::claim(&mut claim);
        Some(claim)
    });
    let (deployments, services, claims) = futures::try_join!(deployments, services, claims)?;
    let replica_sets = replica_sets(client, &namespace, &ours, &releases, &deployments).await?;
    Ok(Observed {
        releases,
        deployments,
        replica_sets,
        services,
        claims,
    })
}

/// In the order of their numbers, in brief but for the newest and the one that is to run.
async fn releases(
    client: &Client,
    owner: Owner<'_>,
    of_app: ListParams,
) -> Result<Vec<Release>, Error> {
    let reading = |source| Error::read("Releases", source);
    let found = history::list(client, owner, of_app).await;
    let Sorted {
        records: mut releases,
        strange,
        unreadable,
    } = found.map_err(reading)?;
    // The App's status tells of these.
    if !strange.is_empty() {
        tracing::debug!(?strange, "Releases that do not count");
    }
    if let Some(said) = unreadable.into_iter().next() {
        return Err(Error::Unreadable(said));
    }
    let whole = |releases: &[Release]| {
        let target = plan::target(releases);
        let both = target
            .into_iter()
            .flat_map(|t| iter::once(t.release).chain(t.back_from));
        both.map(Release::name_any).collect()
    };
    history::complete(client, owner, &mut releases, whole)
        .await
        .map_err(reading)?;
    releases.sort_by_key(|release: &Release| release.spec.number);
    Ok(releases)
}

/// A Release of which no more is known than how it stands; `None` if it is gone.
pub(crate) async fn whole(client: &Client, release: &Release) -> Result<Option<Release>, Error> {
    let namespace = release.namespace().unwrap_or_default();
    let api: Api<Release> = Api::namespaced(client.clone(), &namespace);
    let live = classify::found(api.get(&release.name_any()).await);
    let live = live.map_err(|source| Error::read("Releases", source))?;
    Ok(live.filter(|live| live.metadata.uid == release.metadata.uid))
}

/// ReplicaSets of `deployments`. Where the Release that is to run does not say what an administrator had set, the oldest
/// of its sets of each process does, by what its pods are made from.
async fn replica_sets(
    client: &Client,
    namespace: &str,
    ours: &ListParams,
    releases: &[Release],
    deployments: &[Deployment],
) -> Result<Vec<ReplicaSet>, Error> {
    let owners: BTreeSet<&str> = deployments
        .iter()
        .filter_map(|deployment| deployment.metadata.uid.as_deref())
        .collect();
    let target = plan::target(releases).filter(|t| t.release.spec.site.is_none());
    let asked = target.map(|target| target.release.spec.number.to_string());
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let mut oldest = BTreeMap::new();
    items(api, ours, "ReplicaSets", |mut set| {
        let of_ours = |owner: &OwnerReference| owners.contains(owner.uid.as_str());
        if !set.owner_references().iter().any(of_ours) {
            return None;
        }
        let process = set.labels().get(labels::PROCESS).cloned();
        let made = set.creation_timestamp();
        let asked = asked.is_some()
            && set.labels().get(labels::RELEASE) == asked.as_ref()
            && oldest.get(&process).is_none_or(|oldest| made < *oldest);
        if asked {
            oldest.insert(process, made);
        }
        brief::replica_set(&mut set, asked);
        Some(set)
    })
    .await
}

/// What `keep` leaves of each.
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

/// EndpointSlices of `service`: to whom it sends requests.
pub(crate) async fn slices(
    client: &Client,
    service: &Service,
) -> Result<Vec<EndpointSlice>, Error> {
    let namespace = service.namespace().unwrap_or_default();
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    let of_service =
        ListParams::default().labels(&format!("{SERVICE_NAME}={}", service.name_any()));
    items(slices, &of_service, "EndpointSlices", Some).await
}

/// Pods of `release`, and what the nodes say about those that are not ready.
pub(crate) async fn pods(
    client: &Client,
    release: &Release,
) -> Result<(Vec<Pod>, Vec<Event>), Error> {
    let namespace = release.namespace().unwrap_or_default();
    let selector = format!(
        "{}={},{}={}",
        labels::APP_UID,
        release.spec.app.uid,
        labels::RELEASE,
        release.spec.number
    );
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let labelled = ListParams::default().labels(&selector);
    let pods = items(pods, &labelled, "Pods", |mut pod| {
        brief::pod(&mut pod);
        Some(pod)
    })
    .await?;
    let mut events = Vec::new();
    let unready = pods
        .iter()
        .filter(|pod| rollout::is_of(pod, release) && !is_ready(pod))
        .filter_map(ResourceExt::uid)
        .take(PODS);
    for uid in unready {
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let found = items(api, &about, "Events", |mut event| {
            brief::event(&mut event);
            Some(event)
        });
        events.extend(found.await?);
    }
    Ok((pods, events))
}

fn is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What may not be told of what the App of `release` says: the values that came from Secrets. Whoever reads a status may
/// read the App's spec, and ConfigMaps are no secrets.
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

/// The values in a config Secret that are not open. One of the same values is not made anew: what the spec reads from a
/// Secret by now is confidential, whatever it was before.
fn confidential(app: &App, config: &Secret) -> Secrets {
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

/// The last lines that a container wrote, without secrets. A log that is gone is an empty one: the failure is told
/// all the same.
pub(crate) async fn last_lines(
    client: &Client,
    release: &Release,
    container: &Container,
    secrets: &Secrets,
) -> Vec<String> {
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

/// The log of a container's last run, or of its present one, whichever is meant and, where there is none, the other:
/// which of them it is may have changed since the pod was read.
async fn log<'a>(
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
        // It may never have had another run.
        _ => meant.map(|_| String::new()),
    }
}

/// When the roll-out of `release` began.
pub(crate) fn started_at(release: &Release, now: Timestamp) -> Timestamp {
    since(release, &[ReleasePhase::Deploying], now)
}

/// Since when it is tried to write the objects of `release`. When they are there, a roll-out has its whole time.
pub(crate) fn tried_since(release: &Release, now: Timestamp) -> Timestamp {
    since(
        release,
        &[ReleasePhase::Pending, ReleasePhase::Deploying],
        now,
    )
}

fn since(release: &Release, phases: &[ReleasePhase], now: Timestamp) -> Timestamp {
    release
        .status
        .as_ref()
        .filter(|status| phases.contains(&status.phase))
        .and_then(|status| status.started_at.as_ref())
        .map_or(now, |time| time.0)
}

#[cfg(test)]
mod tests {
    use super::{confidential, log, observe};
    use crate::{
        controllers::release::lines::Secrets, domain::repository::Repositories, k8s::fake::Fake,
    };
    use futures::FutureExt as _;
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use kube::core::Status;
    use serde_json::{Value, json};
    use std::cell::RefCell;

    const GONE: &str = "unable to retrieve container logs for containerd://4f5e";

    async fn asked(previous: bool, last: Option<&str>, present: Option<&str>) -> (String, String) {
        let order = RefCell::new(String::new());
        let ask = |previous: bool| {
            order.borrow_mut().push(if previous { 'l' } else { 'p' });
            let log = if previous { last } else { present };
            let none = || kube::Error::Api(Status::failure("none", "BadRequest").boxed());
            let log = log.map(str::to_owned).ok_or_else(none);
            std::future::ready(log).boxed()
        };
        let log = log(previous, ask).await.unwrap_or_else(|_| "error".into());
        (log, order.into_inner())
    }

    #[tokio::test]
    async fn where_one_log_is_gone_the_other_is_asked_for() {
        for (previous, last, present, expected) in [
            (true, Some("why"), Some("new"), ("why", "l")),
            (true, Some(GONE), Some("new"), ("new", "lp")),
            (true, Some(""), Some("new"), ("new", "lp")),
            (true, None, Some("new"), ("new", "lp")),
            (false, Some("why"), Some(GONE), ("why", "pl")),
            (false, None, Some(GONE), ("", "pl")),
            (false, Some(GONE), Some(GONE), ("", "pl")),
            (false, None, None, ("error", "pl")),
        ] {
            let (log, order) = asked(previous, last, present).await;
            assert_eq!((log.as_str(), order.as_str()), expected);
        }
    }

    #[tokio::test]
    async fn what_only_carries_the_label_is_not_kept_and_little_of_the_rest() {
        let fake = Fake::default();
        let big = "x".repeat(200_000);
        let object = |kind: &str, name: &str, owner: (&str, &str, &str)| {
            let (api, of, uid) = owner;
            let template = json!({"spec": {"containers": [{"name": "web", "args": [big]}]}});
            let object = json!({
                "metadata": {"name": name, "namespace": "team", "uid": name, "annotations": {"note": big},
                    "labels": {"slipway.dev/app-uid": "u", "slipway.dev/process": "web"},
                    "ownerReferences": [{"apiVersion": api, "kind": of, "name": "x", "uid": uid, "controller": true}]},
                "spec": {"replicas": 1, "selector": {}, "template": template},
            });
            fake.put(
                &format!("/apis/apps/v1/namespaces/team/{kind}/{name}"),
                object,
            );
        };
        let ours = ("slipway.dev/v1alpha1", "App", "u");
        object("deployments", "hello-web", ours);
        object(
            "replicasets",
            "hello-web-1",
            ("apps/v1", "Deployment", "hello-web"),
        );
        for number in 0..20 {
            let name = format!("forged-{number}");
            object(
                "deployments",
                &name,
                ("slipway.dev/v1alpha1", "App", "other"),
            );
            object("replicasets", &name, ("apps/v1", "Deployment", "forged-0"));
        }
        let app = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "namespace": "team", "uid": "u"},
            "spec": {"source": {"image": {"reference": "i"}}},
        }));
        let repositories = Repositories::new("slipway", []);
        let seen = observe(&fake.client(), &app.unwrap(), &repositories).await;
        let seen = seen.unwrap();
        let kept = format!("{seen:?}").len();
        assert!(kept < 16 * 1024, "{kept} bytes");
        assert_eq!(seen.deployments.len(), 1);
        assert_eq!(seen.replica_sets.len(), 1);
        let number = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas);
        assert_eq!(number(&seen.replica_sets[0]), Some(1));
    }

    fn shown(open: Option<&str>, env: &Value) -> String {
        let app = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello"},
            "spec": {"source": {"image": {"reference": "i"}}, "env": env},
        }));
        let mut config = json!({"metadata": {"name": "hello-config"},
            "data": {"LOG_LEVEL": "ZXJyb3I=", "TOKEN": "aHVudGVyMg=="}});
        if let Some(open) = open {
            config["metadata"]["annotations"] = json!({"slipway.dev/open-variables": open});
        }
        let config = serde_json::from_value(config).unwrap();
        let Secrets::Known(secrets) = confidential(&app.unwrap(), &config) else {
            return String::new();
        };
        secrets.redact("error: hunter2")
    }

    #[test]
    fn only_what_came_from_a_secret_is_taken_out() {
        let none = json!([]);
        assert_eq!(shown(Some("LOG_LEVEL"), &none), "error: [redacted]");
        assert_eq!(shown(Some("LOG_LEVEL,TOKEN"), &none), "error: hunter2");
        // Of a config that was stored before it was told which are open, nothing is.
        assert_eq!(shown(None, &none), "[redacted]: [redacted]");
        let moved = json!([{"name": "LOG_LEVEL", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]);
        assert_eq!(shown(Some("LOG_LEVEL"), &moved), "[redacted]: [redacted]");
    }
}
