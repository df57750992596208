//! One private /16 → the addresses of everything in the cluster. Arithmetic only.

use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

pub const NODE_NAME: &str = "slipway-node";
/// The pod network's name in its configuration.
pub const POD_NETWORK: &str = "slipway";
pub const DNS_DOMAIN: &str = "cluster.local";
/// The bridge that carries the node's own address.
pub const LINK: &str = "slipway0";
/// The engine's end of the veth pair, on the bridge.
pub const ENGINE_LINK: &str = "slipway1";
/// The network namespace with the engine's bridges and packet filter, so that they never conflict with another
/// engine's.
pub const ENGINE_NETNS: &str = "slipway-engine";
/// The registry's name for pulls by the node; only containerd can resolve it.
pub const PULL_NAME: &str = "registry.slipway.test";

/// The /16 that the cluster uses, cut into fixed parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u8,
    second: u8,
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || anyhow!("{text:?} is not a network: write one /16 such as 10.98.0.0/16");
        let address: Ipv4Addr = text.strip_suffix("/16").ok_or_else(wrong)?.parse()?;
        let [first, second, 0, 0] = address.octets() else {
            return Err(wrong());
        };
        if !address.is_private() {
            bail!(
                "{text} is not private: use a /16 of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
            );
        }
        Ok(Self { first, second })
    }
}

impl Network {
    fn at(self, third: u8, fourth: u8) -> String {
        Ipv4Addr::new(self.first, self.second, third, fourth).to_string()
    }

    pub fn whole(self) -> String {
        format!("{}/16", self.at(0, 0))
    }

    /// Where the API server, kubelet and registry listen.
    pub fn node(self) -> String {
        self.at(0, 1)
    }

    /// Where the engine listens, in its own network namespace.
    pub fn engine(self) -> String {
        self.at(0, 2)
    }

    pub fn engine_bridge(self) -> String {
        format!("{}/20", self.at(16, 1))
    }

    pub fn pods(self) -> String {
        format!("{}/20", self.at(32, 0))
    }

    pub fn services(self) -> String {
        format!("{}/18", self.at(64, 0))
    }

    pub fn api_service(self) -> String {
        self.at(64, 1)
    }

    pub fn dns_service(self) -> String {
        self.at(64, 10)
    }

    /// The range of the networks that builds create on the engine.
    pub fn engine_pool(self) -> String {
        format!("{}/17", self.at(128, 0))
    }

    pub fn api_server(self) -> String {
        format!("https://{}:6443", self.node())
    }

    pub fn etcd(self) -> String {
        format!("https://{}:2379", self.node())
    }

    pub fn registry(self) -> String {
        format!("{}:5000", self.node())
    }

    pub fn pull_registry() -> String {
        format!("{PULL_NAME}:5000")
    }

    /// The first of `routes` (lines of `ip -4 route`) that overlaps these addresses and is not of the cluster's own
    /// link.
    pub fn taken_by(self, routes: &str) -> Option<String> {
        routes
            .lines()
            .filter(|line| !line.contains(&format!("dev {LINK}")))
            .find(|line| {
                let Some(target) = line.split_whitespace().next() else {
                    return false;
                };
                let (address, bits) = target.split_once('/').unwrap_or((target, "32"));
                let (Ok(address), Ok(bits)) = (address.parse::<Ipv4Addr>(), bits.parse::<u32>())
                else {
                    return false;
                };
                let shared = 32 - bits.min(16);
                let ours = Ipv4Addr::new(self.first, self.second, 0, 0);
                u64::from(u32::from(address)) >> shared == u64::from(u32::from(ours)) >> shared
            })
            .map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_private_sixteen_is_a_network() {
        assert!("10.98.0.0/16".parse::<Network>().is_ok());
        for wrong in ["10.98.0.0/24", "10.98.1.0/16", "8.8.0.0/16", "", "10.98/16"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_route_over_the_same_addresses_is_a_clash_and_the_own_link_is_not() {
        let network: Network = "10.98.0.0/16".parse().expect("network");
        let free = "default via 192.0.2.1 dev eth0\n192.0.2.0/24 dev eth0\n172.17.0.0/16 dev docker0\n10.97.0.0/16 dev x\n10.98.0.0/24 dev slipway0\n";
        assert_eq!(network.taken_by(free), None);
        for taken in [
            "10.98.7.0/24 dev x",
            "10.0.0.0/8 dev vpn",
            "10.98.3.4 dev y",
        ] {
            assert_eq!(
                network.taken_by(&format!("{free}{taken}\n")).as_deref(),
                Some(taken)
            );
        }
    }
}
