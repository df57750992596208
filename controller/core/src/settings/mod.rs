//! The administrator's settings for the whole operator.
//!
//! A setting is written down twice: in `charts/slipway/values.yaml`, with its default and what it does, and as a field
//! here, with its type and bounds. The chart copies the sections `builds`, `apps` and `outside` into the settings file
//! as they are, and the schema of these values is generated from the types ([`file::schema`]). The operator's `runtime`
//! module reads the settings file; all other modules get the settings from there.

mod apps;
mod builds;
pub mod file;
mod outside;

use std::path::PathBuf;

pub use apps::{AppSettings, ServiceType};
pub use builds::{BuildSettings, Ceilings, Egress};
pub use outside::OutsideSettings;

use crate::{
    domain::repository::Repositories,
    settings::file::{Engine, File, Registry},
};
use slipway_base::{
    outside::Outside,
    zone::input::{RegistryAccess, Secret},
};

/// All settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the operator itself.
    pub namespace: String,
    /// Namespaces whose Apps the operator manages; if empty, all.
    pub watch_namespaces: Vec<String>,
    /// The operator's own image as the nodes pull it (prober's init container).
    pub image_for_nodes: String,
    /// The operator's own image as the engine pulls it (fetch and export zones).
    pub image_for_engine: String,
    /// The registry.
    pub registry: RegistrySettings,
    /// The Docker Engine.
    pub engine: EngineSettings,
    /// Builds.
    pub builds: BuildSettings,
    /// PEM certificates that builds, git and look-ups of images trust, if the administrator adds any with `builds.ca`.
    /// This is a whole bundle with the system's certificates first, because most programs use it instead of their own.
    pub build_ca: Option<String>,
    /// Running Apps.
    pub apps: AppSettings,
    /// Where the operator may connect on behalf of tenants: the administrator's rules and the cluster's addresses.
    pub outside: Outside,
}

impl Settings {
    /// What the settings file says, with what the files say that it names: the account that may write to the registry,
    /// and the whole bundle of certificates if `builds.ca` adds any.
    pub fn new(
        file: File,
        namespace: &str,
        account: Option<Account>,
        build_ca: Option<String>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            watch_namespaces: file.watch_namespaces,
            image_for_nodes: file.image_for_nodes,
            image_for_engine: file.image_for_engine,
            registry: RegistrySettings::new(file.registry, account),
            engine: EngineSettings::new(file.engine),
            builds: file.builds,
            build_ca,
            apps: file.apps,
            outside: Outside::new(file.outside.policy()),
        }
    }
}

/// An account of the registry.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// One registry with three addresses: the operator, the engine and the nodes may each reach it by another one.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// The address for the operator and the zones, with the account that may write.
    pub push: RegistryAccess,
    /// `host:port` in images that the engine pulls.
    pub engine_address: String,
    /// `host:port` in images that the nodes pull.
    pub pull_address: String,
    /// First part of the name of every repository, for example `slipway`.
    pub prefix: String,
    /// Name of the pull Secret in each App's namespace, with which nodes pull from this registry; if none, nodes have
    /// credentials of their own.
    pub pull_secret: Option<String>,
}

impl RegistrySettings {
    fn new(registry: Registry, account: Option<Account>) -> Self {
        let address = registry.address;
        let (username, password) = account.map(|a| (a.username, a.password)).unzip();
        Self {
            engine_address: registry.engine_address.unwrap_or_else(|| address.clone()),
            pull_address: registry.pull_address.unwrap_or_else(|| address.clone()),
            push: RegistryAccess {
                address,
                username,
                password,
                ca_pem: registry.ca,
                insecure: registry.insecure,
            },
            prefix: registry.prefix,
            pull_secret: registry.pull_secret,
        }
    }

    /// The repositories in this registry.
    pub fn repositories(&self) -> Repositories {
        let addresses = [&self.push.address, &self.engine_address, &self.pull_address];
        Repositories::new(&self.prefix, addresses.map(String::as_str))
    }
}

/// The Docker Engine that runs builds.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// `tcp://host:port` or `unix:///path`.
    pub address: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for `tcp://`.
    pub certificates: Option<PathBuf>,
}

impl EngineSettings {
    fn new(engine: Engine) -> Self {
        let is_remote = engine.is_remote();
        Self {
            address: engine.address,
            certificates: engine.certificates.filter(|_| is_remote),
        }
    }
}
