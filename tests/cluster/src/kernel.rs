//! Kernel settings that the components change: recorded before, restored after.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::files;
use crate::layout::Layout;

/// Set by the kubelet (the first six) and kube-proxy (the rest). Forwarding, which we switch on, stays on: a container
/// engine that was installed while the cluster was up found it on and relies on it.
const CHANGED: [&str; 8] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/vs/conntrack",
];

fn note(layout: &Layout) -> String {
    layout.at("kernel-settings.json")
}

/// Records the current settings, then switches forwarding on.
pub fn prepare(layout: &Layout) -> Result<()> {
    let now: BTreeMap<&str, String> = CHANGED
        .iter()
        .filter_map(|name| {
            Some((
                *name,
                fs::read_to_string(format!("/proc/sys/{name}"))
                    .ok()?
                    .trim()
                    .to_owned(),
            ))
        })
        .collect();
    files::write(
        &note(layout),
        serde_json::to_string_pretty(&now)?.as_bytes(),
        0o644,
    )?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .context("switching on IP forwarding (/proc/sys/net/ipv4/ip_forward)")
}

/// Restores the recorded settings. Returns those that could not be restored.
pub fn restore(layout: &Layout) -> Vec<String> {
    let text = fs::read_to_string(note(layout)).unwrap_or_default();
    let before: BTreeMap<String, String> = serde_json::from_str(&text).unwrap_or_default();
    before
        .iter()
        .filter(|(name, _)| CHANGED.contains(&name.as_str()))
        .filter_map(|(name, value)| {
            let path = format!("/proc/sys/{name}");
            let same = fs::read_to_string(&path).is_ok_and(|now| now.trim() == value);
            (!same && fs::write(&path, value).is_err())
                .then(|| format!("kernel setting {path} (was {value})"))
        })
        .collect()
}
