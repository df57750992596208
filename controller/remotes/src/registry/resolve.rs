//! Resolves a user's image reference to digest and config, with that user's own credentials.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    registry::{
        Descriptor, Registry, RegistryError, RunConfig,
        account::Account,
        manifest::{OfImage, Platform, config::ConfigFile},
        setup,
    },
    web::Web,
};

/// Longest time for one look-up.
const LONGEST: Duration = Duration::from_mins(1);
/// The name of Docker Hub in image references; its API has another host.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// An image reference of a user.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// `host` or `host:port`, as pods pull it.
    pub registry: &'a str,
    /// Repository.
    pub repository: &'a str,
    /// Tag or digest.
    pub wanted: &'a str,
}

/// How the image's registry is reached.
#[derive(Clone, Copy)]
pub struct ImageAccess<'a> {
    /// Content of a `kubernetes.io/dockerconfigjson` Secret.
    pub docker_config: Option<&'a [u8]>,
    /// Whether it is the operator's own registry.
    pub registry: Whose<'a>,
}

/// Whether the registry is the operator's own.
#[derive(Clone, Copy)]
pub enum Whose<'a> {
    /// The operator's own registry: reached as the operator reaches it, but not with its account.
    Ours(&'a Registry),
    /// Any other registry, and how it is reached.
    Outside(&'a Web),
}

/// A resolved image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `host[:port]/repository`, as a pod pulls it.
    pub repository: String,
    /// `sha256:…` of what the reference names: an image, or an index.
    pub digest: String,
    /// The part of the image's config that says how it runs.
    pub config: RunConfig,
}

/// Asks the registry for the present meaning of a reference. Takes at most a minute.
pub async fn resolve(
    image: Image<'_>,
    access: &ImageAccess<'_>,
) -> Result<Resolved, RegistryError> {
    let host = match access.registry {
        Whose::Ours(ours) => ours.address(),
        Whose::Outside(_) if image.registry == DOCKER_HUB => DOCKER_HUB_API,
        Whose::Outside(_) => image.registry,
    };
    let account = match access.docker_config {
        None => Account::Anonymous,
        Some(config) => credentials(config, image.registry, image.repository)
            .map_err(|message| setup(host, message))?,
    };
    let registry = match access.registry {
        Whose::Ours(ours) => ours.with_account(account),
        Whose::Outside(web) => Registry::outside(host, account, web)?,
    }
    .brief();
    timeout(LONGEST, ask(&registry, image)).await.map_err(|_| {
        registry
            .doing(image.repository, "read", image.wanted)
            .silent(LONGEST)
    })?
}

async fn ask(registry: &Registry, image: Image<'_>) -> Result<Resolved, RegistryError> {
    let Image {
        registry: named,
        repository,
        wanted,
    } = image;
    let doing = registry.doing(repository, "read", wanted);
    let missing = || RegistryError::NotFound {
        registry: registry.address().to_owned(),
        what: format!("image {repository}:{wanted}"),
    };
    let (body, digest) = registry
        .raw_manifest(repository, wanted)
        .await?
        .ok_or_else(missing)?;
    let (found, _): (OfImage, _) = registry
        .image_in(&doing, body, digest.clone())
        .await?
        .ok_or_else(missing)?;
    let blob = Descriptor {
        digest: found.config.digest,
        size: found.config.size,
        ..Descriptor::default()
    };
    let config = registry.pull_bytes(repository, &blob).await?;
    let config: ConfigFile =
        serde_json::from_slice(&config).map_err(|error| doing.invalid("image", error))?;
    if let Some(platform) = config.platform()
        && platform != Platform::ours()
    {
        return Err(doing.other_platform(&platform.to_string()));
    }
    Ok(Resolved {
        repository: format!("{named}/{repository}"),
        digest,
        config: config.config,
    })
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
}

/// The account for a repository: that of the longest matching key, as in the kubelet; anonymous if no key matches.
/// Errors never show content of the Secret.
fn credentials(config: &[u8], registry: &str, repository: &str) -> Result<Account, String> {
    let config: DockerConfig = serde_json::from_slice(config)
        .map_err(|error| format!("the pull secret is no Docker config: line {}", error.line()))?;
    let (wanted, _) = place(registry);
    let wanted = &server(wanted);
    let found = config
        .auths
        .iter()
        .filter_map(|(key, entry)| {
            let (host, path) = place(key);
            (server(host) == *wanted && lies_under(repository, path)).then_some((path.len(), entry))
        })
        .max_by_key(|(length, _)| *length);
    let Some((_, entry)) = found else {
        return Ok(Account::Anonymous);
    };
    if !entry.username.is_empty() {
        return Ok(Account::Named {
            username: entry.username.clone(),
            password: entry.password.clone(),
        });
    }
    if entry.auth.trim().is_empty() {
        return Ok(Account::Anonymous);
    }
    let wrong =
        || format!("the pull secret's \"auth\" for {wanted} is not base64 of \"account:password\"");
    let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| wrong())?;
    let decoded = String::from_utf8(decoded).map_err(|_| wrong())?;
    let (username, password) = decoded.split_once(':').ok_or_else(wrong)?;
    Ok(Account::Named {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}

/// Host and path of a key: `https://index.docker.io/v1/` gives `docker.io` and no path, `r.example:5000/team` gives
/// `r.example:5000` and `team`.
fn place(key: &str) -> (&str, &str) {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB,
        other => other,
    };
    let path = path.trim_matches('/');
    // Some clients add the path of the registry's API to the key.
    let path = match path.split_once('/') {
        Some(("v1" | "v2", rest)) => rest,
        None if matches!(path, "v1" | "v2") => "",
        _ => path,
    };
    (host, path)
}

/// A host in one spelling: lower case, without the default port 443.
pub fn server(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443") {
        Some(host) => host.to_owned(),
        None => host,
    }
}

fn lies_under(repository: &str, path: &str) -> bool {
    repository
        .strip_prefix(path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
