use schemars::JsonSchema;
use serde::Deserialize;
use slipway_crds::v1alpha1::Duration;

use crate::settings::file::{Mistake, filled};

/// The section `apps`: running Apps.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppSettings {
    /// Type of web Services.
    pub service_type: ServiceType,
    /// Host name or address at which NodePorts answer, for URLs; none if it is not known.
    #[serde(default, deserialize_with = "filled")]
    #[schemars(with = "String")]
    pub node_address: Option<String>,
    /// Domain of the cluster's DNS, for URLs of ClusterIP Services.
    #[schemars(length(min = 1))]
    pub cluster_domain: String,
    /// How often the operator looks up a branch if the App sets no interval.
    pub interval: Duration,
    /// Seconds between a pod's removal from the endpoints and SIGTERM.
    #[schemars(range(min = 0, max = 300))]
    pub drain_seconds: i64,
    /// Most ended Builds, and most superseded Releases, that are kept for an App, whatever the App asks for.
    #[schemars(range(min = 1, max = 100))]
    pub max_history: usize,
}

/// Type of web Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Reached from inside the cluster.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Reached at a port of every node.
    NodePort,
    /// Reached at an address from the cluster's load balancer.
    LoadBalancer,
}

impl AppSettings {
    pub(super) fn check(&self) -> Result<(), Mistake> {
        if self.max_history == 0 {
            let problem = "at least one ended Build, and one superseded Release, has to be kept";
            return Err(Mistake::of("apps.maxHistory", problem));
        }
        if self.drain_seconds < 0 {
            return Err(Mistake::of("apps.drainSeconds", "not 0 or more seconds"));
        }
        Ok(())
    }
}
