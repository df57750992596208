//! References of a Build → their values, read from the cluster just before they are needed and kept nowhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, core::DeserializeGuard};
use slipway_crds::v1alpha1::{
    App, AppRef, Artifact, Build, EnvValueFrom, KeyRef, Revision, Stack, StackPack,
};

use slipway_base::{text, zone::input::GitCredentials};
use slipway_core::{
    build::plan::{Inputs, Referenced},
    domain::{env::TOTAL_MAX, repository::Repositories},
    records::{self, Owner},
};
use slipway_k8s::{
    classify::{found, is_not_found},
    pages,
};
use slipway_zones::credentials;

/// Most bytes of foreign text that are shown.
const SHOWN: usize = 300;

/// Why the inputs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A reference leads nowhere.
    #[error("{0}")]
    Missing(String),
    /// The Build names something that it must not use: a retry would not help.
    #[error("{0}")]
    Foreign(String),
    /// The API server refused, or did not answer.
    #[error("cannot read {what}")]
    Api {
        /// What was read.
        what: String,
        /// The error.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Reads everything that a Build refers to.
pub(super) async fn resolve(
    client: &Client,
    build: &Build,
    repositories: &Repositories,
) -> Result<Inputs, InputError> {
    let cluster = Cluster {
        client,
        namespace: build.metadata.namespace.as_deref().unwrap_or_default(),
    };
    cluster.has_app(build).await?;
    cluster.may_have_stack(build, repositories).await?;
    cluster.may_have_push(build, repositories)?;
    let mut referenced = BTreeMap::new();
    let mut bytes = 0;
    for variable in &build.spec.env {
        if let Some(from) = &variable.value_from {
            let name = &variable.name;
            let found = cluster.value(name, from).await?;
            bytes += name.len() + found.value.len();
            if bytes > TOTAL_MAX {
                return Err(InputError::Missing(format!(
                    "with the variable {name} there are more than {TOTAL_MAX} bytes in those variables of the build that are read from Secrets and ConfigMaps: make its value shorter, and the build goes on, or take it out of the App's environment"
                )));
            }
            referenced.insert(name.clone(), found);
        }
    }
    Ok(Inputs {
        credentials: cluster.credentials(build).await?,
        source: cluster.source(build, repositories).await?,
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
        let _turn = pages::turn().await;
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
        let _turn = pages::turn().await;
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

    /// The source that an earlier Build stored, if the Revision names one and the Revision counts.
    async fn source(
        &self,
        build: &Build,
        repositories: &Repositories,
    ) -> Result<Option<Artifact>, InputError> {
        if build.spec.source.push.is_some() {
            return Ok(None);
        }
        let name = &build.spec.revision;
        let api: Api<DeserializeGuard<Revision>> =
            Api::namespaced(self.client.clone(), self.namespace);
        let revision = found(api.get(name).await).map_err(failure(format!("Revision {name}")))?;
        let Some(DeserializeGuard(Ok(revision))) = revision else {
            return Ok(None);
        };
        match self.owner(build, repositories).counts(&revision) {
            Ok(()) => Ok(revision.status.and_then(|status| status.artifact)),
            Err(why) => {
                tracing::warn!(said = records::ignored("Revision", name, &why), "ignored");
                Ok(None)
            }
        }
    }

    /// The App whose records the Build may use.
    fn owner<'a>(&'a self, build: &'a Build, repositories: &'a Repositories) -> Owner<'a> {
        Owner {
            namespace: self.namespace,
            name: &build.spec.app.name,
            uid: &build.spec.app.uid,
            repositories,
        }
    }

    /// Whether the pushed source that the Build names belongs to its App: the fetch zone reads it with the operator's
    /// account.
    fn may_have_push(&self, build: &Build, repositories: &Repositories) -> Result<(), InputError> {
        let counts = match &build.spec.source.push {
            Some(_) => self.owner(build, repositories).counts(build),
            None => Ok(()),
        };
        counts.map_err(|why| {
            let name = build.metadata.name.as_deref().unwrap_or_default();
            InputError::Foreign(records::ignored("Build", name, &why))
        })
    }

    /// Whether the App that controls the Build exists: an owner reference may name one that does not.
    async fn has_app(&self, build: &Build) -> Result<(), InputError> {
        let AppRef { name, uid } = &build.spec.app;
        let api: Api<App> = Api::namespaced(self.client.clone(), self.namespace);
        let app = match api.get_metadata(name).await {
            Ok(app) => app.metadata.uid,
            Err(error) if is_not_found(&error) => None,
            Err(error) => return Err(failure(format!("App {name}"))(error)),
        };
        if app.as_ref() == Some(uid) {
            return Ok(());
        }
        Err(InputError::Missing(format!(
            "there is no App {name} with the UID that the Build names: it goes with that App"
        )))
    }

    /// Whether the Build may use its Stack's images and packs: they are in the shared part of the registry, or the
    /// present Stack object, which only administrators write, names them.
    async fn may_have_stack(
        &self,
        build: &Build,
        repositories: &Repositories,
    ) -> Result<(), InputError> {
        let copy = &build.spec.stack;
        let mut named = artifacts(&copy.build_image, &copy.run_image, &copy.packs);
        named.retain(|artifact| !repositories.is_shared(&artifact.repository));
        if named.is_empty() {
            return Ok(());
        }
        let name = &copy.name;
        let api: Api<Stack> = Api::all(self.client.clone());
        let stack = found(api.get(name).await).map_err(failure(format!("Stack {name}")))?;
        let own = stack.map_or_else(Vec::new, |Stack { spec, .. }| {
            artifacts(&spec.build_image, &spec.run_image, &spec.packs)
        });
        match named.into_iter().find(|artifact| !own.contains(artifact)) {
            None => Ok(()),
            Some(artifact) => Err(InputError::Foreign(format!(
                "the Build names {:?}, which is neither of Stack {name} nor among what all builds share; nothing is built with it",
                text::line(&artifact.to_string(), SHOWN)
            ))),
        }
    }
}

fn failure(what: String) -> impl FnOnce(kube::Error) -> InputError {
    move |source| InputError::Api {
        what,
        source: Box::new(source),
    }
}

/// Images and packs of a Stack.
fn artifacts(build_image: &Artifact, run_image: &Artifact, packs: &[StackPack]) -> Vec<Artifact> {
    let packs = packs.iter().map(|pack| &pack.artifact);
    [build_image, run_image]
        .into_iter()
        .chain(packs)
        .cloned()
        .collect()
}
