//! The administrator's settings for the whole operator. `runtime::args` reads them; all other modules get them from
//! there.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use slipway_crds::v1alpha1::Quantity;

use crate::domain::repository::Repositories;
use slipway_base::{
    outside::Outside,
    zone::input::{GitLimits, RegistryAccess},
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
    /// Running Apps.
    pub apps: AppSettings,
    /// Where the operator may connect on behalf of tenants: the administrator's rules and the cluster's addresses.
    pub outside: Outside,
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

/// Builds.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// Stack of Apps whose spec names none.
    pub default_stack: String,
    /// How many Builds run at once.
    pub concurrency: usize,
    /// How many Builds of one namespace run at once. If none, one place stays free for other namespaces, unless there
    /// is only one place.
    pub per_namespace: Option<usize>,
    /// Time limit of Builds of Apps that set none.
    pub timeout: Duration,
    /// CPUs that a build may use if the App sets no limit.
    pub cpus: Option<f64>,
    /// Bytes of memory that a build may use if the App sets no limit.
    pub memory_bytes: Option<i64>,
    /// The most that an App's build gets, whatever the App asks for.
    pub ceilings: Ceilings,
    /// How many processes a build may have.
    pub pids: i64,
    /// Bytes of log that are kept for one build. Further bytes are counted and dropped.
    pub log_bytes: u64,
    /// PEM certificates that builds, git and look-ups of images trust, if the administrator adds any. This is a whole
    /// bundle with the system's certificates first, because most programs use it instead of their own.
    pub ca_pem: Option<String>,
    /// How builds reach the network.
    pub egress: Egress,
    /// Environment of build processes: mirrors (`PIP_INDEX_URL`, `NPM_CONFIG_REGISTRY`…) and proxies. The operator uses
    /// these proxies for git servers and for registries that Apps name, too.
    pub env: BTreeMap<String, String>,
    /// Git.
    pub git: GitLimits,
}

/// How the build zone reaches the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Only through Slipway's proxy, which connects to the addresses that [`slipway_base::outside`] allows.
    #[default]
    Proxy,
    /// Directly, like any container on the engine.
    Open,
}

/// The most that an App can get for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Time.
    pub timeout: Duration,
    /// CPUs; if none, no maximum.
    pub cpus: Option<Quantity>,
    /// Memory; if none, no maximum.
    pub memory: Option<Quantity>,
}

impl Default for Ceilings {
    /// No maximum below what an App can ask for.
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
    /// Host name or address at which NodePorts answer, for URLs; none if it is not known.
    pub node_address: Option<String>,
    /// Domain of the cluster's DNS, for URLs of ClusterIP Services.
    pub cluster_domain: String,
    /// How often the operator looks up a branch if the App sets no interval.
    pub interval: Duration,
    /// Seconds between a pod's removal from the endpoints and SIGTERM.
    pub drain_seconds: i64,
    /// Most ended Builds, and most superseded Releases, that are kept for an App, whatever the App asks for.
    pub max_history: usize,
}

/// Type of web Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Reached from inside the cluster.
    ClusterIp,
    /// Reached at a port of every node.
    NodePort,
    /// Reached at an address from the cluster's load balancer.
    LoadBalancer,
}
