//! What is there: the App's Releases, its objects, and, while one rolls out, its pods and what the nodes say of them.

use std::collections::BTreeSet;

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
    core::DeserializeGuard,
};
use slipway_crds::{
    labels,
    v1alpha1::{App, Release, ReleasePhase},
};

use crate::{
    controllers::{
        records::{Owner, Sorted},
        release::{
            Error,
            lines::{self, Secrets},
            rollout,
            trouble::Container,
        },
    },
    domain::repository::Repositories,
    k8s::classify,
};

/// What is there.
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
    let releases: Api<DeserializeGuard<Release>> = Api::namespaced(client.clone(), &namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let of_app = ListParams::default().fields(&format!("spec.app.name={}", app.name_any()));
    let (found, deployments, replica_sets, services, claims) = futures::try_join!(
        items(releases, of_app, "Releases"),
        items(deployments, ours.clone(), "Deployments"),
        items(replica_sets, ours.clone(), "ReplicaSets"),
        items(services, ours, "Services"),
        items(claims, named, "PersistentVolumeClaims"),
    )?;
    let owner = Owner {
        namespace: &namespace,
        name: &app.name_any(),
        uid: &uid,
        repositories,
    };
    let Sorted {
        records: mut releases,
        strange,
        unreadable,
    } = owner.sort(found);
    // The App's status tells of these.
    if !strange.is_empty() {
        tracing::debug!(?strange, "Releases that do not count");
    }
    if let Some(said) = unreadable.into_iter().next() {
        return Err(Error::Unreadable(said));
    }
    releases.sort_by_key(|release| release.spec.number);
    Ok(Observed {
        releases,
        deployments,
        replica_sets,
        services,
        claims,
    })
}

async fn items<K>(api: Api<K>, params: ListParams, what: &'static str) -> Result<Vec<K>, Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.list(&params).await {
        Ok(list) => Ok(list.items),
        Err(source) => Err(Error::read(what, source)),
    }
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
    items(slices, of_service, "EndpointSlices").await
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
    let pods = items(pods, ListParams::default().labels(&selector), "Pods").await?;
    let mut events = Vec::new();
    let unready = pods
        .iter()
        .filter(|pod| rollout::is_of(pod, release) && !is_ready(pod))
        .filter_map(ResourceExt::uid)
        .take(PODS);
    for uid in unready {
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let about = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        events.extend(items(api, about, "Events").await?);
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
    use super::{confidential, log};
    use crate::controllers::release::lines::Secrets;
    use futures::FutureExt as _;
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
