//! An image reference of a user → digest and config, with that user's own credentials.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::{Reference, secrets::RegistryAuth};
use serde::Deserialize;

use crate::registry::{Registry, RegistryError, RunConfig, manifest::ConfigFile};

/// What is known besides the reference.
#[derive(Clone, Debug, Default)]
pub struct ImageAccess<'a> {
    /// Content of a `kubernetes.io/dockerconfigjson` Secret.
    pub docker_config: Option<&'a [u8]>,
    /// PEM certificates that are trusted besides the system's.
    pub ca_pem: Option<&'a str>,
    /// Registries, `host:port`, that speak plain HTTP.
    pub insecure: &'a [String],
    /// A registry that the nodes know by another name: that name, and the `host:port` at which it is asked from here.
    pub asked_at: Option<(&'a str, &'a str)>,
}

/// An image, by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// `host[:port]/repository`, as a pod pulls it.
    pub repository: String,
    /// `sha256:…` of what the reference names: an image, or an index of several.
    pub digest: String,
    /// How the image wants to be run.
    pub config: RunConfig,
}

/// Asks the image's registry what a reference means now.
pub async fn resolve(reference: &str, access: &ImageAccess<'_>) -> Result<Resolved, RegistryError> {
    let parsed: Reference = reference
        .trim()
        .parse()
        .map_err(|error| RegistryError::Reference {
            reference: reference.to_owned(),
            message: format!("{error}"),
        })?;
    let host = match access.asked_at {
        Some((name, address)) if name == parsed.registry() => address.to_owned(),
        _ => parsed.resolve_registry().to_owned(),
    };
    let auth = match access.docker_config {
        None => RegistryAuth::Anonymous,
        Some(config) => {
            credentials(config, parsed.registry(), parsed.repository()).map_err(|message| {
                RegistryError::Setup {
                    registry: host.clone(),
                    message,
                }
            })?
        }
    };
    let insecure = access.insecure.contains(&host);
    let registry = Registry::with(&host, auth, access.ca_pem, insecure)?;
    let repository = parsed.repository();
    let wanted = parsed.digest().or(parsed.tag()).unwrap_or("latest");
    let missing = || RegistryError::NotFound {
        registry: host.clone(),
        what: format!("image {repository}:{wanted}"),
    };
    let (_, digest) = registry
        .raw_manifest(repository, wanted)
        .await?
        .ok_or_else(missing)?;
    let manifest = registry
        .manifest(repository, &digest)
        .await?
        .ok_or_else(missing)?;
    let config = registry
        .pull_bytes(repository, &manifest.image.config)
        .await?;
    let config: ConfigFile = serde_json::from_slice(&config).map_err(|error| {
        registry
            .doing(repository, "read", wanted)
            .invalid("image", error)
    })?;
    Ok(Resolved {
        repository: format!("{}/{repository}", parsed.registry()),
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

/// The account for a repository: that of the longest key which it lies under, as the kubelet has it; none: anonymous.
/// Errors never show what stands in the file.
fn credentials(config: &[u8], registry: &str, repository: &str) -> Result<RegistryAuth, String> {
    let config: DockerConfig = serde_json::from_slice(config)
        .map_err(|error| format!("the pull secret is no Docker config: line {}", error.line()))?;
    let (wanted, _) = place(registry);
    let found = config
        .auths
        .iter()
        .filter_map(|(key, entry)| {
            let (host, path) = place(key);
            (host == wanted && lies_under(repository, path)).then_some((path.len(), entry))
        })
        .max_by_key(|(length, _)| *length);
    let Some((_, entry)) = found else {
        return Ok(RegistryAuth::Anonymous);
    };
    if !entry.username.is_empty() {
        return Ok(RegistryAuth::Basic(
            entry.username.clone(),
            entry.password.clone(),
        ));
    }
    if entry.auth.trim().is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let wrong =
        || format!("the pull secret's \"auth\" for {wanted} is not base64 of \"account:password\"");
    let decoded = STANDARD.decode(entry.auth.trim()).map_err(|_| wrong())?;
    let decoded = String::from_utf8(decoded).map_err(|_| wrong())?;
    let (username, password) = decoded.split_once(':').ok_or_else(wrong)?;
    Ok(RegistryAuth::Basic(
        username.to_owned(),
        password.to_owned(),
    ))
}

/// Host and path of a key: `https://index.docker.io/v1/` → `docker.io` and nothing, `r.example:5000/team` →
/// `r.example:5000` and `team`.
fn place(key: &str) -> (&str, &str) {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    let path = path.trim_matches('/');
    // Clients also write the address of the registry's API.
    let path = match path.split_once('/') {
        Some(("v1" | "v2", rest)) => rest,
        None if matches!(path, "v1" | "v2") => "",
        _ => path,
    };
    (host, path)
}

fn lies_under(repository: &str, path: &str) -> bool {
    repository
        .strip_prefix(path)
        .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{RegistryAuth, credentials};

    fn of(config: &str, registry: &str) -> Result<RegistryAuth, String> {
        credentials(config.as_bytes(), registry, "team/app")
    }

    #[test]
    fn accounts_are_found_in_each_form_that_clients_write() {
        let basic = |u: &str, p: &str| Ok(RegistryAuth::Basic(u.into(), p.into()));
        let cases = [
            (
                r#"{"auths":{"r.example:5000":{"auth":"dTpwOnE="}}}"#,
                "r.example:5000",
                basic("u", "p:q"),
            ),
            (
                r#"{"auths":{"https://r.example/v2/":{"username":"u","password":"p"}}}"#,
                "r.example",
                basic("u", "p"),
            ),
            (
                r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
                "docker.io",
                basic("u", "p"),
            ),
            (
                r#"{"auths":{"other.example":{"auth":"dTpw"}}}"#,
                "r.example",
                Ok(RegistryAuth::Anonymous),
            ),
            (
                r#"{"credsStore":"desktop"}"#,
                "r.example",
                Ok(RegistryAuth::Anonymous),
            ),
            (
                r#"{"auths":{"r.example":{}}}"#,
                "r.example",
                Ok(RegistryAuth::Anonymous),
            ),
        ];
        for (config, registry, expected) in cases {
            assert_eq!(of(config, registry), expected, "{config}");
        }
    }

    #[test]
    fn the_longest_key_that_the_repository_lies_under_counts() {
        let config = r#"{"auths":{
            "https://r.example/v2/":{"username":"all","password":"p"},
            "r.example/team":{"username":"team","password":"p"},
            "r.example/team/app":{"username":"app","password":"p"},
            "r.example/te":{"username":"te","password":"p"},
            "r.example/open":{}}}"#;
        for (repository, account) in [
            ("team/app", Some("app")),
            ("team/application", Some("team")),
            ("team", Some("team")),
            ("teams/app", Some("all")),
            ("open/app", None),
        ] {
            let found = credentials(config.as_bytes(), "r.example", repository).unwrap();
            let wanted = account.map_or(RegistryAuth::Anonymous, |account| {
                RegistryAuth::Basic(account.into(), "p".into())
            });
            assert_eq!(found, wanted, "{repository}");
        }
    }

    #[test]
    fn errors_do_not_show_the_secret() {
        for config in [
            r#"{"auths":{"r":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":{"r":"secret"}}"#,
            "secret",
        ] {
            let error = of(config, "r").unwrap_err();
            assert!(
                !error.contains("secret\"") && !error.contains("c2Vj"),
                "{error}"
            );
            assert!(error.contains("pull secret"), "{error}");
        }
    }
}
