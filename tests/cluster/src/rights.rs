//! The rights that a cluster needs from the kernel → an error that names all that are lacking, before anything long
//! begins.

use std::fs;

use anyhow::{Result, bail};

use crate::cgroups;

/// Capabilities by their number in linux/capability.h, with what they are needed for.
const CAPABILITIES: [(u32, &str); 2] = [
    (12, "CAP_NET_ADMIN (links, addresses, packet filter)"),
    (21, "CAP_SYS_ADMIN (mounts, namespaces)"),
];

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Fails, naming every right that is lacking, for example in a container without privileges.
pub fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lacking: Vec<String> = missing_capabilities(&status)
        .into_iter()
        .map(str::to_owned)
        .collect();
    // Writes the same value again, to see whether it can be written.
    let written = fs::read(FORWARDING).and_then(|now| fs::write(FORWARDING, now));
    if let Err(error) = written {
        lacking.push(format!("a writable {FORWARDING} ({error})"));
    }
    if let Err(error) = cgroups::try_out() {
        lacking.push(format!("control groups that can be made ({error:#})"));
    }
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine does not let a cluster run. It lacks {}. In a container: start it privileged (docker run --privileged), or use a virtual machine",
        lacking.join("; ")
    )
}

/// Those of [`CAPABILITIES`] that a text like /proc/self/status does not have in its effective set.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        // If the kernel does not say, assume all: the operations themselves will show it.
        .unwrap_or(u64::MAX);
    CAPABILITIES
        .iter()
        .filter(|(number, _)| set & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named() {
        // What Docker gives a container by default.
        let docker = missing_capabilities("Name:\tx\nCapEff:\t00000000a80425fb\n");
        assert_eq!(docker.len(), 2, "{docker:?}");
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        assert!(missing_capabilities("CapEff:\t000001fffeffffff\n").is_empty());
        assert!(missing_capabilities("").is_empty());
    }
}
