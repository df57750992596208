//! Addresses that are refused in every cluster.

use std::net::IpAddr;

use crate::outside::policy::network::Network;

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

/// Refused addresses that mean the same in every cluster.
pub(super) fn reserved(address: IpAddr) -> Option<&'static str> {
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
