//! What an administrator decides, once, for the whole operator. Made by `runtime::args`; everything else is handed it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use slipway_crds::v1alpha1::Quantity;

use crate::domain::repository::Repositories;
use slipway_base::{
    outside::Outside,
    zone::input::{GitLimits, RegistryAccess},
};

/// Everything that is set from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the operator itself.
    pub namespace: String,
    /// Namespaces whose Apps are looked after; none: all.
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
    /// Running Apps.
    pub apps: AppSettings,
    /// Where tenants may have us connect: set here, and found out about the cluster.
    pub outside: Outside,
}

/// One registry, three addresses: whoever pushes, the engine and the nodes may each reach it by another.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// As the operator and the zones reach it, with the account that may write.
    pub push: RegistryAccess,
    /// `host:port` in images that the engine pulls.
    pub engine_address: String,
    /// `host:port` in images that the nodes pull.
    pub pull_address: String,
    /// First part of every repository, for example `slipway`.
    pub prefix: String,
    /// Name of a Secret, in each App's namespace, with which nodes pull our images; none: nodes have their own
    /// credentials.
    pub pull_secret: Option<String>,
}

impl RegistrySettings {
    /// The repositories in it.
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

/// Builds.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// Stack of Apps that name none.
    pub default_stack: String,
    /// How many run at once.
    pub concurrency: usize,
    /// How many of one namespace run at once; none: one is left to others, where there are any.
    pub per_namespace: Option<usize>,
    /// Time limit of Apps that set none.
    pub timeout: Duration,
    /// CPUs that a build may use, where the App sets no limit.
    pub cpus: Option<f64>,
    /// Bytes of memory that a build may use, where the App sets no limit.
    pub memory_bytes: Option<i64>,
    /// What no App's build gets more of, whatever the App says.
    pub ceilings: Ceilings,
    /// Processes that a build may have.
    pub pids: i64,
    /// Bytes of log that are kept of one build; what comes after is counted and dropped.
    pub log_bytes: u64,
    /// PEM certificates that builds, git and look-ups of images trust, where the administrator adds any: a whole
    /// bundle, the system's first, for most programs take it in place of their own.
    pub ca_pem: Option<String>,
    /// How builds reach the world.
    pub egress: Egress,
    /// Environment of build processes: mirrors (`PIP_INDEX_URL`, `NPM_CONFIG_REGISTRY`…) and proxies; the latter are
    /// the way to git servers and to registries that Apps name, too.
    pub env: BTreeMap<String, String>,
    /// Git.
    pub git: GitLimits,
}

/// How the build zone reaches the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Through a proxy of ours alone, which connects where tenants may have us connect ([`slipway_base::outside`]).
    #[default]
    Proxy,
    /// As any container on the engine does.
    Open,
}

/// What no App gets more of for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Time.
    pub timeout: Duration,
    /// CPUs; none: no ceiling.
    pub cpus: Option<Quantity>,
    /// Memory; none: no ceiling.
    pub memory: Option<Quantity>,
}

impl Default for Ceilings {
    /// As much as an App can ask for.
    fn default() -> Self {
        Self {
            timeout: Duration::from_hours(24),
            cpus: None,
            memory: None,
        }
    }
}

/// Running Apps.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Type of web Services.
    pub service_type: ServiceType,
    /// Host name or address at which NodePorts answer, for URLs; none: the node's own address is not known.
    pub node_address: Option<String>,
    /// Domain of the cluster's DNS, for URLs of ClusterIP Services.
    pub cluster_domain: String,
    /// How often a branch is looked up where the App does not say.
    pub interval: Duration,
    /// Seconds between a pod's leaving the endpoints and SIGTERM.
    pub drain_seconds: i64,
    /// Most ended Builds and superseded Releases that are kept of an App, whatever the App says.
    pub max_history: usize,
}

/// Type of web Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Reached from inside the cluster.
    ClusterIp,
    /// Reached at a port of every node.
    NodePort,
    /// Reached at an address that the cluster's load balancer gives.
    LoadBalancer,
}
