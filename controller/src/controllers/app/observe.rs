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
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use slipway_crds::{
    labels, names,
    v1alpha1::{App, Build, Release, Revision, Stack},
};

use crate::{
    domain::{
        app::{ValidApp, ValidSource},
        env::Config,
    },
    k8s::{classify::found, ownership::owned_by},
};

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
    /// Secrets with its config snapshots.
    pub config_secrets: Vec<Secret>,
    /// The same, by name.
    pub configs: BTreeMap<String, Config>,
    /// Its Service.
    pub service: Option<Service>,
    /// The Stack of its builds.
    pub stack: Option<Stack>,
    /// What its references lead to.
    pub referred: Referred,
    /// Claims of its storage that exist and that many nodes may mount at once.
    pub shared_claims: BTreeSet<String>,
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

fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> ReadError {
    move |source| ReadError {
        what,
        source: Box::new(source),
    }
}

/// Names of Secrets that an App refers to.
pub(super) fn secret_names(app: &ValidApp) -> BTreeSet<&str> {
    let source = match &app.source {
        ValidSource::Git(git) => git.secret.as_deref(),
        ValidSource::Image(image) => image.pull_secret.as_deref(),
    };
    let keys = app
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.secret_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let all = app
        .env_from
        .iter()
        .filter_map(|from| from.secret_ref.as_ref())
        .map(|secret| secret.name.as_str());
    keys.chain(all).chain(source).collect()
}

/// Names of ConfigMaps that an App refers to.
pub(super) fn config_map_names(app: &ValidApp) -> BTreeSet<&str> {
    let keys = app
        .env
        .iter()
        .filter_map(|v| v.value_from.as_ref()?.config_map_key_ref.as_ref())
        .map(|key| key.name.as_str());
    let all = app
        .env_from
        .iter()
        .filter_map(|from| from.config_map_ref.as_ref())
        .map(|map| map.name.as_str());
    keys.chain(all).collect()
}

/// Reads everything. Of an App that is not valid, what it has is read, and nothing that it refers to.
pub(super) async fn observe(
    client: &Client,
    app: &App,
    valid: Option<&ValidApp>,
) -> Result<Observed, ReadError> {
    let namespace = app.namespace().unwrap_or_default();
    let uid = app.uid().unwrap_or_default();
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let service_name = names::service(&app.name_any());
    let (
        revisions,
        builds,
        releases,
        deployments,
        secrets,
        service,
        stack,
        referred,
        shared_claims,
    ) = futures::try_join!(
        owned::<Revision>(client, &namespace, &uid, "Revisions"),
        owned::<Build>(client, &namespace, &uid, "Builds"),
        owned::<Release>(client, &namespace, &uid, "Releases"),
        owned::<Deployment>(client, &namespace, &uid, "Deployments"),
        owned::<Secret>(client, &namespace, &uid, "Secrets"),
        async { found(services.get(&service_name).await).map_err(reading("Service")) },
        stack(client, valid),
        referred(client, &namespace, valid),
        shared_claims(client, &namespace, app),
    )?;
    let prefix = names::config_secret(&app.name_any(), "");
    let config_secrets: Vec<Secret> = secrets
        .into_iter()
        .filter(|secret| secret.name_any().starts_with(&prefix))
        .collect();
    let configs = config_secrets
        .iter()
        .map(|secret| {
            let data = secret.data.clone().unwrap_or_default();
            let config = Config::stored(data.into_iter().map(|(key, value)| (key, value.0)));
            (secret.name_any(), config)
        })
        .collect();
    Ok(Observed {
        revisions,
        builds,
        releases,
        deployments,
        config_secrets,
        configs,
        service: service.filter(|service| owned_by(service, &uid)),
        stack,
        referred,
        shared_claims,
    })
}

async fn shared_claims(
    client: &Client,
    namespace: &str,
    app: &App,
) -> Result<BTreeSet<String>, ReadError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let mut shared = BTreeSet::new();
    for storage in &app.spec.storage {
        let Some(claim) = &storage.claim else {
            continue;
        };
        let claim = found(claims.get(&claim.name).await).map_err(reading("claims"))?;
        let modes = claim
            .as_ref()
            .and_then(|c| c.spec.as_ref()?.access_modes.as_ref());
        if let Some(claim) = &claim
            && modes.is_some_and(|m| {
                m.iter()
                    .any(|m| m == "ReadWriteMany" || m == "ReadOnlyMany")
            })
        {
            shared.insert(claim.name_any());
        }
    }
    Ok(shared)
}

async fn owned<K>(
    client: &Client,
    namespace: &str,
    uid: &str,
    what: &'static str,
) -> Result<Vec<K>, ReadError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let selector = format!("{}={uid}", labels::APP_UID);
    let list = api
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(reading(what))?;
    // A label is easily set; who owns it is what counts.
    let ours = list
        .items
        .into_iter()
        .filter(|object| owned_by(object, uid) && object.meta().deletion_timestamp.is_none());
    Ok(ours.collect())
}

async fn stack(client: &Client, valid: Option<&ValidApp>) -> Result<Option<Stack>, ReadError> {
    let Some(app) = valid.filter(|app| matches!(app.source, ValidSource::Git(_))) else {
        return Ok(None);
    };
    let stacks: Api<Stack> = Api::all(client.clone());
    found(stacks.get(&app.build.stack).await).map_err(reading("Stack"))
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

fn of_secret(secret: Secret) -> Data {
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
