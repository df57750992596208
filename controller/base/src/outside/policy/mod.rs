//! A resolved address → whether the operator may connect to it on behalf of a tenant. Pure.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Ports of a node that belong to Kubernetes' components: etcd, kubelet, kube-proxy, scheduler, controller managers.
const NODE_PORTS: [u16; 11] = [
    2379, 2380, 2381, 10248, 10249, 10250, 10255, 10256, 10257, 10258, 10259,
];

/// Addresses of clouds' metadata services, which give out the machine's credentials, other than the IPv4 link-local
/// one.
const METADATA: [Network; 9] = [
    Network::v4([100, 100, 100, 200], 32),
    Network::v4([168, 63, 129, 16], 32),
    Network::v4([192, 0, 0, 192], 32),
    // Amazon has several services in this network.
    Network::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
    Network::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    Network::v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128),
    Network::v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),
    Network::v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128),
    Network::v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128),
];
/// IPv6 networks whose addresses mean something else at each site: local-use NAT64 (`64:ff9b:1::/48`) and the
/// deprecated site-local addresses (`fec0::/10`).
const UNCERTAIN: [Network; 2] = [
    Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    Network::v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
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

/// Refused addresses that mean the same in every cluster.
fn reserved(address: IpAddr) -> Option<&'static str> {
    if METADATA.iter().any(|network| network.contains(address)) {
        return Some("a cloud's metadata service");
    }
    if UNCERTAIN.iter().any(|network| network.contains(address)) {
        return Some("no certain host");
    }
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("no certain host"),
            [127, ..] => Some("the operator's own machine"),
            [169, 254, ..] => Some("a link-local address, such as a cloud's metadata service"),
            [224..=255, ..] => Some("no single host"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unspecified() => Some("no certain host"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("the operator's own machine"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("no single host"),
        IpAddr::V6(_) => None,
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, translated, compatible, NAT64, 6to4), else the address
/// itself.
fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let of = |high: u16, low: u16| {
        let [one, two] = high.to_be_bytes();
        let [three, four] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(one, two, three, four))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => of(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => of(high, low),
        _ => address,
    }
}

/// A network such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    const fn v4(octets: [u8; 4], bits: u8) -> Self {
        let address = IpAddr::V4(Ipv4Addr::from_octets(octets));
        Self { address, bits }
    }

    const fn v6(segments: [u16; 8], bits: u8) -> Self {
        let address = IpAddr::V6(Ipv6Addr::from_segments(segments));
        Self { address, bits }
    }

    /// Whether an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                ours.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                ours.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = canonical(address);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self { address, bits }
    }
}

/// A text that is neither a network nor an entry for `allow`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct Malformed {
    text: String,
    wanted: &'static str,
}

impl FromStr for Network {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed {
            text: text.to_owned(),
            wanted: "a network such as 10.0.0.0/8 or an address",
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| malformed()))?;
        if bits > most {
            return Err(malformed());
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// What an administrator allows: `10.0.0.0/8`, `10.1.2.3:3000`, `git.example.com`, `[fd00::1]:443`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Allowed {
    server: Server,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    Network(Network),
    /// Lower case, and without a dot at the end.
    Host(String),
}

impl FromStr for Allowed {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Ok(network) = text.parse() {
            return Ok(Self {
                server: Server::Network(network),
                port: None,
            });
        }
        let malformed = || Malformed {
            text: text.to_owned(),
            wanted: "a network, an address or a host name, with or without :port",
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(Self {
                server: Server::Network(Network {
                    address: address.ip(),
                    bits,
                }),
                port: Some(address.port()),
            });
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| malformed())?)),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(of_a_name) {
            return Err(malformed());
        }
        Ok(Self {
            server: Server::Host(host),
            port,
        })
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.server, self.port) {
            (Server::Network(network), None) => write!(f, "{network}"),
            (Server::Network(network), Some(port)) => {
                write!(f, "{}", SocketAddr::new(network.address, port))
            }
            (Server::Host(host), None) => f.write_str(host),
            (Server::Host(host), Some(port)) => write!(f, "{host}:{port}"),
        }
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
mod tests {
    use super::{Allowed, Cluster, Network, Policy};

    fn policy(allow: &[&str]) -> Policy {
        Policy {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            cluster: vec!["10.244.0.0/16".parse().unwrap()],
            found: Cluster {
                pods: vec!["fd44::/64".parse().unwrap()],
                services: vec![
                    "10.96.0.0/12".parse().unwrap(),
                    "fd10::/112".parse().unwrap(),
                ],
                api_servers: vec!["192.0.2.1:6443".parse().unwrap()],
                nodes: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
            },
            own: vec!["172.18.0.0/16".parse().unwrap()],
        }
    }

    fn refused(policy: &Policy, host: &str, port: u16, address: &str) -> Option<&'static str> {
        let address = address.parse().unwrap();
        policy.check(host, port, address).err().map(|r| r.what)
    }

    #[test]
    fn what_answers_inside_only_is_refused() {
        let policy = policy(&[]);
        for (port, address, what) in [
            (443, "127.0.0.1", "own machine"),
            (443, "127.255.1.2", "own machine"),
            (443, "::1", "own machine"),
            (443, "::ffff:127.0.0.1", "own machine"),
            (443, "::127.0.0.1", "own machine"),
            (443, "64:ff9b::7f00:1", "own machine"),
            (443, "2002:7f00:1::", "own machine"),
            (443, "0.0.0.0", "no certain"),
            (443, "0.1.2.3", "no certain"),
            (443, "::", "no certain"),
            (80, "169.254.169.254", "metadata"),
            (80, "::ffff:169.254.169.254", "metadata"),
            (80, "100.100.100.200", "metadata"),
            (80, "::ffff:0:169.254.169.254", "metadata"),
            (80, "fd00:ec2::254", "metadata"),
            (80, "fd00:ec2::23", "metadata"),
            (80, "fd20:ce::254", "metadata"),
            (80, "fd00:c1::a9fe:a9fe", "metadata"),
            (80, "fd00:42::42", "metadata"),
            (80, "fd00:100::100:200", "metadata"),
            (80, "fd00:a9fe:a9fe::1", "metadata"),
            (80, "64:ff9b:1::a9fe:a9fe", "no certain"),
            (80, "fec0::1", "no certain"),
            (80, "fe80::1", "link-local"),
            (80, "224.0.0.1", "no single"),
            (80, "255.255.255.255", "no single"),
            (80, "ff02::1", "no single"),
            (443, "10.96.0.1", "Service"),
            (443, "10.111.255.255", "Service"),
            (443, "fd10::7", "Service"),
            (8080, "10.244.3.4", "pod"),
            (8080, "fd44::9", "pod"),
            (8080, "::ffff:10.244.3.4", "pod"),
            (6443, "192.0.2.1", "API server"),
            (6443, "::ffff:192.0.2.1", "API server"),
            (10250, "192.0.2.2", "nodes"),
            (2376, "172.18.0.1", "engine"),
            (2379, "192.0.2.1", "nodes"),
        ] {
            let said = refused(&policy, "h", port, address);
            assert!(
                said.is_some_and(|said| said.contains(what)),
                "{address}:{port}: {said:?}"
            );
        }
    }

    #[test]
    fn the_world_and_a_companys_own_network_are_reached() {
        let policy = policy(&[]);
        for (port, address) in [
            (443, "198.51.100.7"),
            (443, "2001:db8::7"),
            (443, "fd00:ec3::7"),
            (443, "10.95.255.255"),
            (443, "10.112.0.0"),
            (443, "192.168.1.1"),
            (9418, "192.0.2.1"),
            (443, "192.0.2.1"),
            (10250, "192.0.2.3"),
        ] {
            assert_eq!(
                refused(&policy, "h", port, address),
                None,
                "{address}:{port}"
            );
        }
    }

    #[test]
    fn an_administrator_allows_networks_addresses_and_names() {
        let policy = policy(&[
            "127.0.0.0/8",
            "10.96.7.7:3000",
            "git.svc",
            "Git.Example.com:8443",
            "192.0.2.0/24",
            "172.16.0.0/12",
            "172.18.0.1:3128",
            "engine.example.com",
        ]);
        for (host, port, address, allowed) in [
            ("h", 1, "127.0.0.1", true),
            ("h", 3000, "10.96.7.7", true),
            ("h", 3001, "10.96.7.7", false),
            ("GIT.svc.", 80, "10.96.9.9", true),
            ("nogit.svc", 80, "10.96.9.9", false),
            ("git.example.com", 8443, "169.254.1.1", true),
            ("git.example.com", 443, "169.254.1.1", false),
            // Neither a network nor a name without a port opens the API server or the Docker Engine.
            ("h", 443, "172.17.255.255", true),
            ("h", 2376, "172.18.0.1", false),
            ("h", 3128, "172.18.0.1", true),
            ("engine.example.com", 2376, "172.18.0.1", false),
            ("h", 443, "192.0.2.1", true),
            ("h", 6443, "192.0.2.1", false),
            ("h", 10250, "192.0.2.2", false),
        ] {
            assert_eq!(
                refused(&policy, host, port, address).is_none(),
                allowed,
                "{host}:{port} {address}"
            );
        }
        assert!(policy.trusts("h", 80, "127.0.0.1".parse().unwrap()));
        assert!(!policy.trusts("h", 80, "198.51.100.7".parse().unwrap()));
    }

    #[test]
    fn what_is_written_is_read_and_what_cannot_be_meant_is_told() {
        for text in [
            "10.0.0.0/8",
            "10.1.2.3/32",
            "::/0",
            "fd00::/8",
            "a.b",
            "a.b:80",
            "10.1.2.3:80",
            "[fd00::1]:443",
        ] {
            let allowed: Allowed = text.parse().unwrap();
            assert_eq!(allowed.to_string(), text);
            let json = serde_json::to_string(&allowed).unwrap();
            assert_eq!(serde_json::from_str::<Allowed>(&json).unwrap(), allowed);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "a/b",
            "a:b",
            "a:70000",
            "https://a",
            "*.a",
            "[::1",
        ] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
        assert!("a".parse::<Network>().is_err());
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()));
    }
}
