//! References of a Build → their values, read from the cluster just before they are needed and kept nowhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use slipway_crds::v1alpha1::{Artifact, Build, EnvValueFrom, KeyRef, Revision};

use crate::{
    build::plan::{Inputs, Referenced},
    k8s::classify::found,
    zone::{credentials, input::GitCredentials},
};

/// Why there are no inputs.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A reference leads nowhere.
    #[error("{0}")]
    Missing(String),
    /// The API server.
    #[error("cannot read {what}")]
    Api {
        /// What was read.
        what: String,
        /// What was said.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Reads everything that a Build refers to.
pub(super) async fn resolve(client: &Client, build: &Build) -> Result<Inputs, InputError> {
    let cluster = Cluster {
        client,
        namespace: build.metadata.namespace.as_deref().unwrap_or_default(),
    };
    let mut referenced = BTreeMap::new();
    for variable in &build.spec.env {
        if let Some(from) = &variable.value_from {
            referenced.insert(
                variable.name.clone(),
                cluster.value(&variable.name, from).await?,
            );
        }
    }
    Ok(Inputs {
        credentials: cluster.credentials(build).await?,
        source: cluster.source(&build.spec.revision).await?,
        referenced,
    })
}

struct Cluster<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Cluster<'_> {
    async fn secret(&self, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, InputError> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        let secret = found(api.get(name).await).map_err(failure(format!("Secret {name}")))?;
        Ok(secret.map(|secret| {
            let data = secret.data.unwrap_or_default();
            data.into_iter()
                .map(|(key, value)| (key, value.0))
                .collect()
        }))
    }

    async fn config_map(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, InputError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
        let map = found(api.get(name).await).map_err(failure(format!("ConfigMap {name}")))?;
        Ok(map.map(|map| {
            let text = map.data.unwrap_or_default();
            let binary = map.binary_data.unwrap_or_default();
            text.into_iter()
                .map(|(key, value)| (key, value.into_bytes()))
                .chain(binary.into_iter().map(|(key, value)| (key, value.0)))
                .collect()
        }))
    }

    async fn value(&self, variable: &str, from: &EnvValueFrom) -> Result<Referenced, InputError> {
        let (kind, KeyRef { name, key }, data) = match from {
            EnvValueFrom {
                secret_key_ref: Some(at),
                ..
            } => ("Secret", at, self.secret(&at.name).await?),
            EnvValueFrom {
                config_map_key_ref: Some(at),
                ..
            } => ("ConfigMap", at, self.config_map(&at.name).await?),
            EnvValueFrom {
                secret_key_ref: None,
                config_map_key_ref: None,
            } => {
                return Err(InputError::Missing(format!(
                    "the variable {variable} names neither a Secret nor a ConfigMap"
                )));
            }
        };
        let missing = |what: String| {
            InputError::Missing(format!(
                "{what}, which the variable {variable} is read from: create it, and the build goes on"
            ))
        };
        let mut data = data.ok_or_else(|| missing(format!("there is no {kind} {name}")))?;
        let bytes = data
            .remove(key)
            .ok_or_else(|| missing(format!("{kind} {name} has no key {key}")))?;
        let value = String::from_utf8(bytes).map_err(|_| {
            InputError::Missing(format!(
                "the key {key} of {kind} {name}, which the variable {variable} is read from, is no UTF-8 text"
            ))
        })?;
        Ok(Referenced {
            value,
            secret: kind == "Secret",
        })
    }

    async fn credentials(&self, build: &Build) -> Result<Option<GitCredentials>, InputError> {
        let git = build.spec.source.git.as_ref();
        let Some(reference) = git.and_then(|git| git.secret_ref.as_ref()) else {
            return Ok(None);
        };
        let name = &reference.name;
        let data = self.secret(name).await?.ok_or_else(|| {
            InputError::Missing(format!(
                "there is no Secret {name}, which has the credentials of the git server: create it, and the build goes on"
            ))
        })?;
        let credentials = credentials::git(&data).ok_or_else(|| {
            InputError::Missing(format!(
                "Secret {name}, which is to have the credentials of the git server, needs the keys {}",
                credentials::KEYS
            ))
        })?;
        Ok(Some(credentials))
    }

    async fn source(&self, revision: &str) -> Result<Option<Artifact>, InputError> {
        let api: Api<Revision> = Api::namespaced(self.client.clone(), self.namespace);
        let revision =
            found(api.get(revision).await).map_err(failure(format!("Revision {revision}")))?;
        Ok(revision.and_then(|revision| revision.status?.artifact))
    }
}

fn failure(what: String) -> impl FnOnce(kube::Error) -> InputError {
    move |source| InputError::Api {
        what,
        source: Box::new(source),
    }
}
