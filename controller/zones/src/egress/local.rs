//! The networks that this container is on: the engine's own addresses and other builds' containers are there.

use std::{fs, net::Ipv4Addr};

use slipway_base::outside::policy::Network;

/// Read once, because a container's networks do not change.
pub(super) fn networks() -> Vec<Network> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut networks = v4(&read("/proc/net/route"));
    networks.extend(v6(&read("/proc/net/ipv6_route")));
    networks
}

/// Parses `/proc/net/route`: interface, destination, gateway, flags, …, mask (the eighth column). Each address is a
/// hexadecimal number in the machine's byte order. A destination without a gateway is reached directly; a gateway is
/// the engine itself.
fn v4(table: &str) -> Vec<Network> {
    let address = |hex: &str| {
        u32::from_str_radix(hex, 16)
            .ok()
            .map(|number| Ipv4Addr::from(number.to_ne_bytes()))
    };
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, _, _, _, _, mask, ..] = columns.as_slice() else {
            continue;
        };
        let (Some(destination), Some(gateway), Some(mask)) =
            (address(destination), address(gateway), address(mask))
        else {
            continue;
        };
        let text = if gateway.is_unspecified() {
            format!("{destination}/{}", mask.to_bits().count_ones())
        } else {
            gateway.to_string()
        };
        // A default route without a gateway would stand for the whole world.
        if !text.ends_with("/0") {
            found.extend(text.parse::<Network>());
        }
    }
    found
}

/// Parses `/proc/net/ipv6_route`: destination, prefix length in hexadecimal, source, its prefix length, next hop, …,
/// flags, interface.
fn v6(table: &str) -> Vec<Network> {
    let address = |hex: &str| {
        u128::from_str_radix(hex, 16)
            .ok()
            .map(std::net::Ipv6Addr::from)
    };
    let mut found = Vec::new();
    for line in table.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, _, _, hop, ..] = columns.as_slice() else {
            continue;
        };
        let (Some(destination), Ok(length), Some(hop)) = (
            address(destination),
            u8::from_str_radix(length, 16),
            address(hop),
        ) else {
            continue;
        };
        if !hop.is_unspecified() {
            found.extend(hop.to_string().parse::<Network>());
        } else if length > 0 && !destination.is_loopback() {
            found.extend(format!("{destination}/{length}").parse::<Network>());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{v4, v6};

    #[test]
    fn what_is_reached_directly_and_the_gateways() {
        let table = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0
nonsense
";
        let found: Vec<String> = v4(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["172.18.0.1/32", "172.18.0.0/16"]);
    }

    #[test]
    fn and_over_ipv6() {
        let table = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003 eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001 lo
";
        let found: Vec<String> = v6(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["fd00::/64", "fd00::1/128"]);
    }
}
