//! Which repositories of the operator's registry an App and its records may name. Pure.
//!
//! ```text
//! <prefix>/<namespace>/<app>      an App's own: sources, images, caches, logs
//! <prefix>/slipway.dev/…          what all share: a Stack's images, buildpacks. No namespace has a dot in its name
//! ```
//!
//! The operator's account may read and write all of these. So before the operator pulls or shows something on a user's
//! behalf, it checks by these rules that the object may name that repository.

/// Stands in place of a namespace in repositories that all Apps share.
const SHARED: &str = "slipway.dev";
/// Longest name of a namespace or App.
const LABEL: usize = 63;
/// Host names of Docker Hub.
const DOCKER_HUB: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The repositories of the operator's registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repositories {
    prefix: String,
    hosts: Vec<String>,
}

impl Repositories {
    /// The repositories below `prefix` of a registry with these addresses, each `host` or `host:port`.
    pub fn new<'a>(prefix: &str, addresses: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            hosts: addresses.into_iter().map(host).collect(),
        }
    }

    /// First part of all of them.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The App's own repository.
    pub fn of_app(&self, namespace: &str, app: &str) -> String {
        format!("{}/{namespace}/{app}", self.prefix)
    }

    /// Whether it is the App's own repository. False if namespace or App is no valid name, such as `../other/app`.
    pub fn is_of_app(&self, repository: &str, namespace: &str, app: &str) -> bool {
        is_label(namespace) && is_label(app) && repository == self.of_app(namespace, app)
    }

    /// Whether it is a repository that all Apps share.
    pub fn is_shared(&self, repository: &str) -> bool {
        self.below(repository)
            .and_then(|rest| rest.strip_prefix(SHARED)?.strip_prefix('/'))
            .is_some_and(|rest| rest.split('/').all(is_component))
    }

    /// Whether Apps of this namespace may not use an image, given its registry and repository, because it belongs to
    /// another namespace or to builds.
    pub fn is_foreign(&self, registry: &str, repository: &str, namespace: &str) -> bool {
        if !self.hosts.contains(&host(registry)) {
            return false;
        }
        if repository == self.prefix {
            return true;
        }
        self.below(repository).is_some_and(|rest| {
            let own = rest.strip_prefix(namespace);
            !own.and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| rest.split('/').all(is_component))
        })
    }

    fn below<'a>(&self, repository: &'a str) -> Option<&'a str> {
        repository.strip_prefix(&self.prefix)?.strip_prefix('/')
    }
}

/// A registry's host in the form in which hosts are compared: lower case, without the default port.
fn host(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    let address = address.strip_suffix(":443").unwrap_or(&address);
    if DOCKER_HUB.contains(&address) {
        "docker.io".to_owned()
    } else {
        address.to_owned()
    }
}

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= LABEL
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_component(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && part.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::Repositories;

    fn ours() -> Repositories {
        Repositories::new("slipway", ["registry.local:5000", "Registry.example.com"])
    }

    #[test]
    fn an_apps_own_repository_is_one_and_no_name_leads_out_of_it() {
        for (repository, namespace, app, own) in [
            ("slipway/team/hello", "team", "hello", true),
            ("slipway/team/hello/more", "team", "hello", false),
            ("slipway/team/other", "team", "hello", false),
            ("slipway/other/hello", "team", "hello", false),
            ("elsewhere/team/hello", "team", "hello", false),
            ("slipway/team/../other/x", "team", "../other/x", false),
            ("slipway/team/a/b", "team", "a/b", false),
            ("slipway/team/", "team", "", false),
            ("slipway//hello", "", "hello", false),
            ("slipway/slipway.dev/packs", "slipway.dev", "packs", false),
        ] {
            assert_eq!(
                ours().is_of_app(repository, namespace, app),
                own,
                "{repository}"
            );
        }
    }

    #[test]
    fn what_all_share_is_below_one_name_that_no_namespace_has() {
        for (repository, shared) in [
            ("slipway/slipway.dev/packs/python", true),
            ("slipway/slipway.dev/stacks/standard/run", true),
            ("slipway/slipway.dev", false),
            ("slipway/slipway.dev/", false),
            ("slipway/slipway.dev/../team/hello", false),
            ("slipway/slipway.device/x", false),
            ("slipway/team/hello", false),
            ("other/slipway.dev/packs/python", false),
        ] {
            assert_eq!(ours().is_shared(repository), shared, "{repository}");
        }
    }

    #[test]
    fn an_image_of_another_namespace_is_foreign_by_whatever_name_the_registry_goes() {
        for (registry, repository, foreign) in [
            ("registry.local:5000", "slipway/team/hello", false),
            ("registry.local:5000", "slipway/other/hello", true),
            ("REGISTRY.local:5000", "slipway/other/hello", true),
            ("registry.example.com:443", "slipway/other/hello", true),
            ("registry.local:5000", "slipway/team", true),
            ("registry.local:5000", "slipway", true),
            ("registry.local:5000", "slipway/team/../other/hello", true),
            ("registry.local:5000", "slipway/slipway.dev/packs/x", true),
            ("registry.local:5000", "slipways/other/hello", false),
            ("registry.local:5000", "elsewhere/x", false),
            ("ghcr.io", "slipway/other/hello", false),
        ] {
            let found = ours().is_foreign(registry, repository, "team");
            assert_eq!(found, foreign, "{registry}/{repository}");
        }
        let hub = Repositories::new("slipway", ["registry-1.docker.io"]);
        assert!(hub.is_foreign("docker.io", "slipway/other/hello", "team"));
    }
}
