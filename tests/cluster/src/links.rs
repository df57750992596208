//! Makes and removes the cluster's network on the machine: a bridge with the node's address, the engine's network
//! namespace on it, and the route to the outside.

use std::fs;

use anyhow::{Result, bail};

use crate::command::run;
use crate::files;
use crate::filter;
use crate::layout::Layout;
use crate::network::{ENGINE_LINK, ENGINE_NETNS, LINK, Network};

/// Fails if something else on the machine uses these addresses, or another cluster has its link here.
pub fn check_free(layout: &Layout, network: Network) -> Result<()> {
    if let Some(owner) = owner().filter(|owner| !owner.is_empty() && *owner != layout.state) {
        bail!(
            "another cluster runs here, with its state in {owner}: take it down first (slipway-cluster --state {owner} down)"
        );
    }
    if let Some(route) = network.taken_by(&run(&["ip", "-4", "route"])?) {
        bail!(
            "{} is in use on this machine (route `{route}`): choose another /16 with --network",
            network.whole()
        );
    }
    Ok(())
}

/// The state folder of the cluster whose link exists.
fn owner() -> Option<String> {
    let alias = fs::read_to_string(format!("/sys/class/net/{LINK}/ifalias")).ok()?;
    Some(alias.trim().to_owned())
}

/// Whether this cluster's link exists. A link without an owner's name is from an `up` that was killed while making it.
pub fn there(layout: &Layout) -> bool {
    owner().is_some_and(|owner| owner.is_empty() || owner == layout.state)
}

/// Makes the network of the cluster.
pub fn create(layout: &Layout, network: Network, mtu: u32) -> Result<()> {
    files::write(&foreign_chains(layout), filter::foreign().as_bytes(), 0o644)?;
    let mtu = &*mtu.to_string();
    let (node, engine) = (network.node(), network.engine());
    let inside = |words: &[&str]| run(&[&["ip", "-n", ENGINE_NETNS], words].concat());
    run(&["ip", "link", "add", LINK, "mtu", mtu, "type", "bridge"])?;
    run(&["ip", "link", "set", LINK, "alias", &layout.state])?;
    run(&["ip", "addr", "add", &format!("{node}/24"), "dev", LINK])?;
    run(&["ip", "link", "set", LINK, "up"])?;
    // Makes Services reachable even on a machine without a default route.
    run(&["ip", "route", "add", &network.services(), "dev", LINK])?;
    run(&["ip", "netns", "add", ENGINE_NETNS])?;
    run(&[
        "ip",
        "link",
        "add",
        ENGINE_LINK,
        "mtu",
        mtu,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "mtu",
        mtu,
        "netns",
        ENGINE_NETNS,
    ])?;
    run(&["ip", "link", "set", ENGINE_LINK, "master", LINK, "up"])?;
    inside(&["link", "set", "lo", "up"])?;
    inside(&["addr", "add", &format!("{engine}/24"), "dev", "eth0"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "add", "default", "via", &node])?;
    filter::create(network)
}

/// Removes what [`create`] made, as far as it exists and belongs to this cluster, and the chains of the components.
pub fn remove(layout: &Layout) -> Result<()> {
    if owner().is_some() && !there(layout) {
        return Ok(());
    }
    // The links first: after their namespace is deleted, they would stay for a while.
    for link in [ENGINE_LINK, LINK] {
        if fs::exists(format!("/sys/class/net/{link}"))? {
            run(&["ip", "link", "delete", link])?;
        }
    }
    if fs::exists(format!("/run/netns/{ENGINE_NETNS}"))? {
        run(&["ip", "netns", "delete", ENGINE_NETNS])?;
    }
    filter::remove(&fs::read_to_string(foreign_chains(layout)).unwrap_or_default())
}

fn foreign_chains(layout: &Layout) -> String {
    layout.at("foreign-chains")
}

/// The largest packet that the interface of the machine's default route takes.
pub fn mtu() -> u32 {
    let routes = run(&["ip", "-4", "route", "show", "default"]).unwrap_or_default();
    let device = routes
        .split_whitespace()
        .skip_while(|word| *word != "dev")
        .nth(1);
    device
        .and_then(|device| fs::read_to_string(format!("/sys/class/net/{device}/mtu")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1500)
}
