//! Programs that the host lacks → Debian packages, installed if this runs as root. Programs that exist are left alone.

use std::fs;

use anyhow::{Result, bail};

use crate::command;
use crate::files;
use crate::progress::Progress;

/// The libc that static programs are linked with.
const LIBC: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/libc.a"
} else {
    "/usr/lib/x86_64-linux-gnu/libc.a"
};

/// While this file exists, Debian's packages start no services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A program (or, with a slash, a file) and the Debian package that has it.
const NEEDED: [(&str, &str); 21] = [
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("runc", "runc"),
    ("containerd", "containerd"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("socat", "socat"),
    ("setsid", "util-linux"),
    ("nsenter", "util-linux"),
    ("umount", "mount"),
    ("sysctl", "procps"),
    ("debootstrap", "debootstrap"),
    ("git", "git"),
    ("curl", "curl"),
    ("cc", "gcc"),
    (LIBC, "libc6-dev"),
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    // Debian's other busybox is dynamically linked and would not run in an image without libraries.
    ("/var/lib/dpkg/info/busybox-static.list", "busybox-static"),
];

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(program: &str) -> bool {
    command::which(program).is_some_and(|path| fs::exists(path).unwrap_or(false))
}

/// The command that installs what is missing.
pub fn command_by_hand() -> Option<String> {
    let packages = missing(is_there);
    (!packages.is_empty()).then(|| by_hand(&packages))
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

/// Installs what is missing. Call it only as root.
pub fn install_missing(progress: &mut Progress<'_>) -> Result<()> {
    let packages = missing(is_there);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if command::which("apt-get").is_none() {
        bail!(
            "missing on this machine, by Debian package: {list}. There is no apt-get here: install what your system calls them"
        );
    }
    progress.step(format!("Installing Debian packages: {list}"));
    command::run(&["apt-get", "update", "-q"])?;
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
    ];
    // Do not start the packages' own services: they would take the ports of those that the cluster starts.
    let policy_is_ours = !fs::exists(POLICY)?;
    if policy_is_ours {
        files::write(
            POLICY,
            b"#!/bin/sh\n# Written by slipway-cluster while it installs packages.\nexit 101\n",
            0o755,
        )?;
    }
    let installed = command::run(&[&install[..], &packages].concat());
    if policy_is_ours {
        fs::remove_file(POLICY)?;
    }
    installed?;
    let still = missing(is_there);
    if !still.is_empty() {
        bail!(
            "installed, yet still missing: {}. Try by hand: {}",
            still.join(" "),
            by_hand(&packages)
        );
    }
    progress.done("installed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once_and_nothing_else() {
        assert_eq!(missing(|_| true), Vec::<&str>::new());
        assert_eq!(
            missing(|program| !program.starts_with("docker")),
            ["docker-registry", "docker.io"]
        );
    }
}
