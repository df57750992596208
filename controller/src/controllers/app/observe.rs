//! App → everything that its next step depends on, read once from the API server. Reads only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fmt::Debug,
};

use futures::{TryStreamExt as _, stream::FuturesUnordered};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service},
    },
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use slipway_crds::{
    labels, names,
    v1alpha1::{App, Build, Quantity, Release, Revision, Stack},
};

use crate::{
    controllers::{
        app::{config::snapshot, draft::config_secret},
        records::{Owner, Record, Sorted, unreadable},
    },
    decide::release,
    domain::{
        app::{ValidApp, ValidSource},
        env::{Config, HashKey},
        repository::Repositories,
    },
    k8s::{classify::found, ownership::owned_by},
};

/// Most objects that are listed at once.
const PAGE: u32 = 50;

/// Most records that are listed at once: each may have more than a megabyte, and anybody who may create some can make
/// any number that do not count.
const RECORDS: u32 = 20;

/// Content of a Secret or ConfigMap.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Data {
    values: BTreeMap<String, Vec<u8>>,
    /// Its version: changes with its content.
    pub version: String,
}

impl Data {
    /// Keys and values.
    pub(super) const fn values(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.values
    }

    /// From its parts.
    pub(super) const fn new(values: BTreeMap<String, Vec<u8>>, version: String) -> Self {
        Self { values, version }
    }
}

impl Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// What an App's references lead to; what is not there is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Referred {
    /// By name.
    pub secrets: BTreeMap<String, Data>,
    /// By name.
    pub config_maps: BTreeMap<String, Data>,
}

/// What is known of claims that an App's storage names, or that were made for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// Names of those that many nodes may mount at once, and that the App did not ask for itself.
    pub shared: BTreeSet<String>,
    /// Sizes of those that were made for it, by entry.
    pub sizes: BTreeMap<String, Quantity>,
}

/// All that is there of an App.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Its Revisions.
    pub revisions: Vec<Revision>,
    /// Its Builds.
    pub builds: Vec<Build>,
    /// Its Releases.
    pub releases: Vec<Release>,
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// Secrets with its config snapshots, without what is in them.
    pub config_secrets: Vec<Secret>,
    /// By name of the Secret: the config of the newest Release, where the next one will have another.
    pub configs: BTreeMap<String, Config>,
    /// Its Service.
    pub service: Option<Service>,
    /// The Stack of its builds.
    pub stack: Option<Stack>,
    /// Why that cannot be read.
    pub unreadable_stack: Option<String>,
    /// Records with its label that do not count, and why.
    pub strange: Vec<String>,
    /// Releases of it that cannot be read, and why: which one serves, or comes next, is then not known.
    pub unreadable_releases: Vec<String>,
    /// What else cannot be read, and why.
    pub unreadable: Vec<String>,
    /// What its references lead to.
    pub referred: Referred,
    /// Its claims.
    pub claims: Claims,
}

impl Observed {
    /// Whether the config snapshot of this name is kept.
    pub(super) fn has_config(&self, name: &str) -> bool {
        let mut secrets = self.config_secrets.iter();
        secrets.any(|secret| secret.metadata.name.as_deref() == Some(name))
    }
}

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the App's {what}")]
pub struct ReadError {
    /// What.
    pub what: &'static str,
    /// Why.
    pub source: Box<kube::Error>,
}

pub(super) fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> ReadError {
    move |source| ReadError {
        what,
        source: Box::new(source),
    }
}

/// The App as it is now; `None` if it is gone.
pub(super) async fn current(client: &Client, cached: &App) -> Result<Option<App>, ReadError> {
    let namespace = cached.namespace().unwrap_or_default();
    let api: Api<App> = Api::namespaced(client.clone(), &namespace);
    let live = found(api.get(&cached.name_any()).await).map_err(reading("spec"))?;
    Ok(live.filter(|live| live.metadata.uid == cached.metadata.uid))
}

/// Names of Secrets that an App refers to.
pub(super) fn secret_names(app: &ValidApp) -> BTreeSet<&str> {
    let keys = app
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.secret_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let of_builds = app
        .build
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.secret_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let all = app
        .env_from
        .iter()
        .filter_map(|from| from.secret_ref.as_ref())
        .map(|secret| secret.name.as_str());
    keys.chain(of_builds)
        .chain(all)
        .chain(app.source.secret())
        .collect()
}

/// Names of ConfigMaps that an App refers to.
pub(super) fn config_map_names(app: &ValidApp) -> BTreeSet<&str> {
    let keys = app
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.config_map_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let of_builds = app
        .build
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.config_map_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let all = app
        .env_from
        .iter()
        .filter_map(|from| from.config_map_ref.as_ref())
        .map(|map| map.name.as_str());
    keys.chain(of_builds).chain(all).collect()
}

/// Reads everything. Of an App that is not valid, what it has is read, and nothing that it refers to.
pub(super) async fn observe(
    client: &Client,
    app: &App,
    valid: Option<&ValidApp>,
    key: &HashKey,
    repositories: &Repositories,
) -> Result<Observed, ReadError> {
    let namespace = app.namespace().unwrap_or_default();
    let name = app.name_any();
    let uid = app.uid().unwrap_or_default();
    let owner = Owner {
        namespace: &namespace,
        name: &name,
        uid: &uid,
        repositories,
    };
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let service_name = names::service(&app.name_any());
    let (
        revisions,
        builds,
        releases,
        deployments,
        config_secrets,
        service,
        stack,
        referred,
        claims,
    ) = futures::try_join!(
        records::<Revision>(client, owner, "Revisions"),
        records::<Build>(client, owner, "Builds"),
        records::<Release>(client, owner, "Releases"),
        deployments(client, &namespace, &uid),
        config_secrets(client, &namespace, app),
        async { found(services.get(&service_name).await).map_err(reading("Service")) },
        stack(client, valid),
        referred(client, &namespace, valid),
        claims(client, &namespace, app),
    )?;
    let newest = release::newest(&releases.records);
    let configs = config_before(client, &namespace, valid, key, &referred, newest).await?;
    let (stack, unreadable_stack) = stack;
    let mut strange = revisions.strange;
    strange.extend(builds.strange);
    strange.extend(releases.strange);
    let mut unreadable = revisions.unreadable;
    unreadable.extend(builds.unreadable);
    Ok(Observed {
        revisions: revisions.records,
        builds: builds.records,
        releases: releases.records,
        unreadable_stack,
        strange,
        unreadable_releases: releases.unreadable,
        unreadable,
        deployments,
        config_secrets,
        configs,
        service: service.filter(|service| owned_by(service, &uid)),
        stack,
        referred,
        claims,
    })
}

/// Config Secrets of an App. Their content may be a hundred times 1 MiB, and is not asked for; there may be any number
/// of Secrets that only carry the App's label, and they are looked at a few at a time.
async fn config_secrets(
    client: &Client,
    namespace: &str,
    app: &App,
) -> Result<Vec<Secret>, ReadError> {
    let uid = app.uid().unwrap_or_default();
    let prefix = names::config_secret(&app.name_any(), "");
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut page = ListParams::default()
        .labels(&format!("{}={uid}", labels::APP_UID))
        .limit(PAGE);
    let mut found = Vec::new();
    loop {
        let list = api.list_metadata(&page).await.map_err(reading("Secrets"))?;
        let ours = list.items.into_iter().filter(|secret| {
            owned_by(secret, &uid)
                && secret.metadata.deletion_timestamp.is_none()
                && secret.name_any().starts_with(&prefix)
        });
        found.extend(ours.map(|secret| Secret {
            metadata: secret.metadata,
            ..Secret::default()
        }));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The config of the newest Release, by name of its Secret, if the App's config is another by now: only then it is told
/// what changed, and only then the content is read.
async fn config_before(
    client: &Client,
    namespace: &str,
    valid: Option<&ValidApp>,
    key: &HashKey,
    referred: &Referred,
    newest: Option<&Release>,
) -> Result<BTreeMap<String, Config>, ReadError> {
    let (Some(app), Some(newest)) = (valid, newest) else {
        return Ok(BTreeMap::new());
    };
    let name = &newest.spec.config_secret;
    // What makes no config makes no Release.
    let Ok(now) = snapshot(app, referred) else {
        return Ok(BTreeMap::new());
    };
    if *name == config_secret(app, &now.config, key) {
        return Ok(BTreeMap::new());
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let before = found(secrets.get(name).await).map_err(reading("Secrets"))?;
    let before = before.filter(|secret| owned_by(secret, &app.uid));
    Ok(before
        .into_iter()
        .map(|secret| {
            let data = secret.data.unwrap_or_default();
            let values = data.into_iter().map(|(key, value)| (key, value.0));
            (name.clone(), Config::stored(values))
        })
        .collect())
}

async fn claims(client: &Client, namespace: &str, app: &App) -> Result<Claims, ReadError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let mut claims = Claims::default();
    for storage in &app.spec.storage {
        let (name, own) = match (&storage.claim, &storage.claim_template) {
            (Some(claim), _) => (claim.name.clone(), false),
            (None, Some(_)) => (names::claim(&app.name_any(), &storage.name), true),
            (None, None) => continue,
        };
        let claim = found(api.get(&name).await).map_err(reading("claims"))?;
        let Some(spec) = claim.and_then(|claim| claim.spec) else {
            continue;
        };
        let mut modes = spec.access_modes.iter().flatten();
        if own {
            let requests = spec.resources.and_then(|resources| resources.requests);
            let size = requests.and_then(|mut requests| requests.remove("storage"));
            claims
                .sizes
                .extend(size.map(|size| (storage.name.clone(), Quantity(size.0))));
        } else if modes.any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany") {
            claims.shared.insert(name);
        }
    }
    Ok(claims)
}

/// Records with the App's label. A label is easily set: what is in them says which count.
async fn records<K>(
    client: &Client,
    owner: Owner<'_>,
    what: &'static str,
) -> Result<Sorted<K>, ReadError>
where
    K: Record + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), owner.namespace);
    let mut page = ListParams::default()
        .labels(&format!("{}={}", labels::APP_UID, owner.uid))
        .limit(RECORDS);
    let mut found = Sorted::default();
    loop {
        let list = api.list(&page).await.map_err(reading(what))?;
        found.add(owner.sort(list.items));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

async fn deployments(
    client: &Client,
    namespace: &str,
    uid: &str,
) -> Result<Vec<Deployment>, ReadError> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={uid}", labels::APP_UID);
    let list = api
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(reading("Deployments"))?;
    let ours = list.items.into_iter().filter(|deployment| {
        owned_by(deployment, uid) && deployment.metadata.deletion_timestamp.is_none()
    });
    Ok(ours.collect())
}

/// The Stack of the App's builds, or why it cannot be read.
async fn stack(
    client: &Client,
    valid: Option<&ValidApp>,
) -> Result<(Option<Stack>, Option<String>), ReadError> {
    let Some(app) = valid.filter(|app| matches!(app.source, ValidSource::Git(_))) else {
        return Ok((None, None));
    };
    let name = &app.build.stack;
    let stacks: Api<DeserializeGuard<Stack>> = Api::all(client.clone());
    Ok(
        match found(stacks.get(name).await).map_err(reading("Stack"))? {
            None => (None, None),
            Some(DeserializeGuard(Ok(stack))) => (Some(stack), None),
            Some(DeserializeGuard(Err(invalid))) => {
                (None, Some(unreadable("Stack", name, &invalid.error)))
            }
        },
    )
}

async fn referred(
    client: &Client,
    namespace: &str,
    valid: Option<&ValidApp>,
) -> Result<Referred, ReadError> {
    let Some(app) = valid else {
        return Ok(Referred::default());
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets = secret_names(app)
        .into_iter()
        .map(|name| {
            let secrets = &secrets;
            async move {
                let secret = found(secrets.get(name).await).map_err(reading("Secrets"))?;
                Ok(secret.map(|secret| (name.to_owned(), of_secret(secret))))
            }
        })
        .collect::<FuturesUnordered<_>>()
        .try_filter_map(|found| std::future::ready(Ok(found)))
        .try_collect();
    let config_maps = config_map_names(app)
        .into_iter()
        .map(|name| {
            let config_maps = &config_maps;
            async move {
                let map = found(config_maps.get(name).await).map_err(reading("ConfigMaps"))?;
                Ok(map.map(|map| (name.to_owned(), of_config_map(map))))
            }
        })
        .collect::<FuturesUnordered<_>>()
        .try_filter_map(|found| std::future::ready(Ok(found)))
        .try_collect();
    let (secrets, config_maps) = futures::try_join!(secrets, config_maps)?;
    Ok(Referred {
        secrets,
        config_maps,
    })
}

pub(super) fn of_secret(secret: Secret) -> Data {
    let version = secret.resource_version().unwrap_or_default();
    let data = secret.data.unwrap_or_default();
    Data::new(data.into_iter().map(|(k, v)| (k, v.0)).collect(), version)
}

fn of_config_map(map: ConfigMap) -> Data {
    let version = map.resource_version().unwrap_or_default();
    let text = map.data.unwrap_or_default().into_iter();
    let binary = map.binary_data.unwrap_or_default().into_iter();
    let values = text
        .map(|(key, value)| (key, value.into_bytes()))
        .chain(binary.map(|(key, value)| (key, value.0)));
    Data::new(values.collect(), version)
}

#[cfg(test)]
mod tests {
    use super::{Observed, observe};
    use crate::{
        controllers::app::draft::config_secret,
        domain::{
            app::{Defaults, ValidApp},
            env::{Config, Entry, HashKey, Origin},
            repository::Repositories,
        },
        k8s::fake::Fake,
    };
    use serde_json::{Value, json};
    use slipway_crds::{labels, v1alpha1::App};

    fn app(greeting: &str) -> App {
        serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "hello", "namespace": "team", "uid": "u-1"},
            "spec": {
                "source": {"git": {"url": "https://example.com/hello.git"}},
                "env": [{"name": "GREETING", "value": greeting}],
            },
        }))
        .unwrap()
    }

    fn owned(name: &str, more: Value) -> Value {
        let mut object = json!({"metadata": {
            "name": name, "namespace": "team", "uid": name, "labels": {labels::APP_UID: "u-1"},
            "ownerReferences": [{"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello",
                "uid": "u-1", "controller": true}],
        }});
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    }

    /// A Release as the operator makes it.
    fn release(fake: &Fake, number: i64, secret: &str) {
        let spec = json!({
            "app": {"name": "hello", "uid": "u-1"}, "number": number, "cause": "x", "inputs": "x",
            "renderer": 1, "revision": "r", "revisionId": "r",
            "image": {"reference": "slipway/team/hello@sha256:a"},
            "configSecret": secret, "processes": {}, "port": 5000, "deadlines": {},
            "podSecurity": "Restricted",
        });
        let name = format!("hello-v{number}");
        fake.put(&path(&name), owned(&name, json!({"spec": spec})));
    }

    fn path(release: &str) -> String {
        format!("/apis/slipway.dev/v1alpha1/namespaces/team/releases/{release}")
    }

    fn valid(app: &App) -> ValidApp {
        let defaults = Defaults {
            stack: "standard".into(),
            protocols: vec!["https".into()],
            ..Defaults::default()
        };
        ValidApp::new(app, &defaults).unwrap()
    }

    async fn observed(fake: &Fake, app: &App, key: &HashKey) -> Observed {
        let valid = valid(app);
        let repositories = Repositories::new("slipway", []);
        Box::pin(observe(
            &fake.client(),
            app,
            Some(&valid),
            key,
            &repositories,
        ))
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_config_is_read_only_to_tell_what_changed() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        let valid = valid(&app("hello"));
        let config = Config::merge([Entry {
            name: "GREETING".into(),
            value: "hello".into(),
            origin: Origin::Literal,
        }])
        .unwrap();
        let newest = config_secret(&valid, &config, &key);
        let before = config_secret(&valid, &Config::default(), &key);
        for (number, secret) in [(1, &before), (2, &newest)] {
            let secret_path = format!("/api/v1/namespaces/team/secrets/{secret}");
            fake.put(
                &secret_path,
                owned(secret, json!({"data": {"GREETING": "aGVsbG8="}})),
            );
            release(&fake, number, secret);
        }
        // Somebody's Secret that only carries the label.
        let mut strange = owned("hello-config-mine", json!({}));
        strange["metadata"]["ownerReferences"] = json!([]);
        fake.put("/api/v1/namespaces/team/secrets/hello-config-mine", strange);

        let unchanged = observed(&fake, &app("hello"), &key).await;
        assert!(unchanged.configs.is_empty());
        assert!(unchanged.has_config(&newest) && unchanged.has_config(&before));
        assert_eq!(unchanged.config_secrets.len(), 2);
        assert!(unchanged.config_secrets.iter().all(|s| s.data.is_none()));
        let changed = observed(&fake, &app("good day"), &key).await;
        assert_eq!(changed.configs.keys().collect::<Vec<_>>(), [&newest]);
    }

    #[tokio::test]
    async fn a_release_that_cannot_be_read_hides_no_other_and_one_that_is_forged_does_not_count() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        for number in 1..=3 {
            release(&fake, number, "hello-config-x");
        }
        let change = |name: &str, at: &str, value: Value| {
            let mut object = fake.object(&path(name)).unwrap();
            object[at] = value;
            fake.put(&path(name), object);
        };
        change("hello-v1", "status", json!({"phase": "Hibernated"}));
        let mut forged = fake.object(&path("hello-v3")).unwrap()["metadata"].take();
        forged["ownerReferences"] = json!([]);
        change("hello-v3", "metadata", forged);

        let seen = observed(&fake, &app("hello"), &key).await;
        let numbers: Vec<i64> = seen.releases.iter().map(|r| r.spec.number).collect();
        assert_eq!(numbers, [2]);
        assert_eq!(seen.unreadable_releases.len(), 1);
        assert!(seen.unreadable_releases[0].starts_with("Release hello-v1 cannot be read"));
        assert_eq!(seen.strange.len(), 1);
        assert!(seen.strange[0].starts_with("Release hello-v3 is ignored: no App controls it"));
    }
}
