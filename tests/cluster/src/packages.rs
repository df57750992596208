//! What the host lacks → Debian packages, installed when run as root. Nothing that is there is touched.

use anyhow::{Result, bail};

use crate::command;
use crate::progress::Progress;

/// A program (or, with a slash, a file) and the Debian package that has it.
const NEEDED: [(&str, &str); 18] = [
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
    ("cc", "gcc"),
    // Debian's other busybox is dynamic and would not run in an image of its own.
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
    command::which(program).is_some_and(|path| std::fs::exists(path).unwrap_or(false))
}

pub fn install_missing(progress: &mut Progress<'_>, root: bool) -> Result<()> {
    let packages = missing(is_there);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {list}");
    if command::which("apt-get").is_none() {
        bail!(
            "missing on this machine, by Debian package: {list}. There is no apt-get here: install what your system calls them"
        );
    }
    if !root {
        bail!("missing on this machine: {list}. As root: {by_hand}");
    }
    progress.step(format!("Installing Debian packages: {list}"));
    command::run(&["apt-get", "update", "-q"])?;
    // RUNLEVEL=1 keeps the packages' own services down: the cluster starts its own.
    let install = [
        "env",
        "RUNLEVEL=1",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
    ];
    command::run(&[&install[..], &packages].concat())?;
    let still = missing(is_there);
    if !still.is_empty() {
        bail!(
            "installed, yet still missing: {}. Try by hand: {by_hand}",
            still.join(" ")
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
