//! A resolved address → whether the operator may connect to it on behalf of a tenant. Pure.

mod allowed;
mod network;
mod reserved;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use allowed::Allowed;
use allowed::Server;
use network::canonical;
pub use network::{Malformed, Network};
use reserved::reserved;

/// Ports of a node that belong to Kubernetes' components: etcd, kubelet, kube-proxy, scheduler, controller managers.
const NODE_PORTS: [u16; 11] = [
    2379, 2380, 2381, 10248, 10249, 10250, 10255, 10256, 10257, 10258, 10259,
];

/// What may be connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// What an administrator allows. It wins over all rules below.
    pub allow: Vec<Allowed>,
    /// Networks of the cluster that an administrator lists.
    pub cluster: Vec<Network>,
    /// Addresses that the operator found in the cluster.
    pub found: Cluster,
    /// The Docker Engine's own addresses and networks, in the policy of a build zone. An entry in `allow` opens them
    /// only if it names the port.
    pub own: Vec<Network>,
}

/// Addresses of the cluster's pods, Services, API servers and nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Of pods.
    pub pods: Vec<Network>,
    /// Of Services.
    pub services: Vec<Network>,
    /// Where API servers listen.
    pub api_servers: Vec<SocketAddr>,
    /// Of nodes. They are refused only at the ports of Kubernetes' components: a company's git server may run on a
    /// node.
    pub nodes: Vec<IpAddr>,
}

/// Why an address is refused. The address itself is not shown, so that no tenant learns what internal names resolve to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host}:{port} leads to {what}, where nothing is fetched from: an administrator can allow it (outside.allow in the chart's values)"
)]
pub struct Refused {
    /// The host as the App's author wrote it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the address belongs to.
    pub what: &'static str,
}

impl Policy {
    /// Whether `address`, to which `host` was resolved, may be connected to at this port.
    pub fn check(&self, host: &str, port: u16, address: IpAddr) -> Result<(), Refused> {
        let refused = |what| {
            Err(Refused {
                host: host.to_owned(),
                port,
                what,
            })
        };
        let address = canonical(address);
        if self.allows(host, address, Some(port)) {
            return Ok(());
        }
        // An `allow` entry without a port does not open the following addresses.
        if self
            .found
            .api_servers
            .iter()
            .any(|a| canonical(a.ip()) == address && a.port() == port)
        {
            return refused("the Kubernetes API server");
        }
        if NODE_PORTS.contains(&port) && self.found.nodes.iter().any(|n| canonical(*n) == address) {
            return refused("a part of Kubernetes on one of the nodes");
        }
        if self.own.iter().any(|network| network.contains(address)) {
            return refused("the build engine's own machine, or another build");
        }
        if self.allows(host, address, None) {
            return Ok(());
        }
        if let Some(what) = reserved(address) {
            return refused(what);
        }
        if self.is_inside(address) {
            return refused("a pod or Service of this cluster");
        }
        Ok(())
    }

    fn is_inside(&self, address: IpAddr) -> bool {
        let found = self.found.pods.iter().chain(&self.found.services);
        let mut networks = self.cluster.iter().chain(found);
        networks.any(|network| network.contains(address))
    }

    /// Whether the policy knows that this address of a pod is the cluster's.
    pub fn knows(&self, pod: IpAddr) -> bool {
        self.is_inside(canonical(pod)) || self.found.nodes.contains(&pod)
    }

    /// Whether an administrator allows this server. Then credentials may be sent to it without TLS.
    pub fn trusts(&self, host: &str, port: u16, address: IpAddr) -> bool {
        let address = canonical(address);
        self.allows(host, address, Some(port)) || self.allows(host, address, None)
    }

    /// Whether an `allow` entry for this server has exactly this port, or, with `None`, no port.
    fn allows(&self, host: &str, address: IpAddr, port: Option<u16>) -> bool {
        self.allow.iter().any(|allowed| {
            allowed.port == port
                && match &allowed.server {
                    Server::Network(network) => network.contains(address),
                    Server::Host(name) => name.eq_ignore_ascii_case(host.trim_end_matches('.')),
                }
        })
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = Malformed;

            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(Network);
as_text!(Allowed);

#[cfg(test)]
mod tests;
