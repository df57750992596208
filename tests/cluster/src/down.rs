//! A cluster in any state → nothing: removes its processes, mounts, links, chains, control groups and files, except the
//! cache.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cgroups;
use crate::command;
use crate::kernel;
use crate::layout::Layout;
use crate::links;
use crate::outside;
use crate::processes;
use crate::progress::Progress;

/// File that marks a folder as a state folder, so that no other folder is ever removed.
pub const SIGN: &str = ".slipway-cluster";

pub fn there(layout: &Layout) -> bool {
    folder_there(layout) || links::there(layout)
}

fn folder_there(layout: &Layout) -> bool {
    fs::exists(&layout.state).unwrap_or(false)
}

/// Takes the cluster down. Returns what could not be put back. A second call changes nothing.
pub fn down(layout: &Layout, progress: &mut Progress<'_>) -> Result<Vec<String>> {
    if !there(layout) {
        progress.step("Nothing to take down");
        progress.note(&format!("there is no {}", layout.state));
        return Ok(Vec::new());
    }
    let empty = fs::read_dir(&layout.state).is_ok_and(|mut entries| entries.next().is_none());
    if folder_there(layout) && !empty && !fs::exists(layout.at(SIGN))? {
        bail!(
            "{} was not made by this program (it has no {SIGN}): not touching it",
            layout.state
        );
    }
    progress.step("Stopping pods and builds");
    let short = Duration::from_secs(3);
    // The kubelet first: otherwise it would restart what is killed below.
    processes::stop(layout, "kubelet", short);
    processes::kill(&cgroups::processes(cgroups::PODS));
    processes::kill(&cgroups::processes(cgroups::ENGINE));
    progress.done("stopped");

    progress.step("Stopping the components");
    for name in [
        "containerd",
        "dockerd",
        "local-path-provisioner",
        "coredns",
        "kube-proxy",
        "kube-scheduler",
        "kube-controller-manager",
        "kube-apiserver",
        "etcd",
        "docker-registry",
    ] {
        processes::stop(
            layout,
            name,
            if name == "dockerd" {
                Duration::from_secs(10)
            } else {
                short
            },
        );
    }
    // Shims, and processes whose pidfile is lost.
    let left = || {
        processes::alive(
            &[
                processes::marked(layout),
                cgroups::processes(cgroups::PODS),
                cgroups::processes(cgroups::ENGINE),
            ]
            .concat(),
        )
    };
    for _ in 0..3 {
        processes::kill(&left());
    }
    let survivors = left();
    if !survivors.is_empty() {
        bail!(
            "these processes do not end, not even by SIGKILL: {survivors:?}. Look at /proc/PID/stack; what they hold stays, and so does {}",
            layout.state
        );
    }
    progress.done("stopped");

    progress.step("Removing mounts, links, packet filter rules and control groups");
    unmount(layout)?;
    links::remove(layout)?;
    let mut left = cgroups::remove();
    left.extend(kernel::restore(layout));
    outside::remove(layout);
    progress.done("removed");

    progress.step(format!("Removing {}", layout.state));
    if let Some(mount) = mounts(layout, &fs::read_to_string("/proc/self/mountinfo")?).first() {
        bail!("{mount} is still mounted: not removing {}", layout.state);
    }
    if folder_there(layout) {
        fs::remove_dir_all(&layout.state).with_context(|| format!("removing {}", layout.state))?;
    }
    progress.done("removed");
    Ok(left)
}

/// Mount points below the state folder in a text like /proc/self/mountinfo, the innermost first.
fn mounts(layout: &Layout, text: &str) -> Vec<String> {
    let below = format!("{}/", layout.state);
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| path.replace("\\040", " "))
        .filter(|path| path.starts_with(&below))
        .collect();
    found.sort_unstable();
    found.reverse();
    found
}

fn unmount(layout: &Layout) -> Result<()> {
    for mount in mounts(layout, &fs::read_to_string("/proc/self/mountinfo")?) {
        // This fails for a mount that went away with the one above it, which is no error. Mounts that stay are found
        // before anything is removed.
        let _ = command::run(&["umount", "--lazy", &mount]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_state_folder_go_and_inner_ones_first() {
        let layout = Layout {
            state: "/var/lib/s".to_owned(),
            cache: "/c".to_owned(),
        };
        let text = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /var/lib/s/a rw - tmpfs t rw\n3 2 0:3 / /var/lib/s/a/b rw - tmpfs t rw\n4 1 0:4 / /var/lib/s2/a rw - tmpfs t rw\n5 1 0:4 / /var/lib/s/c\\040d rw - tmpfs t rw\n";
        assert_eq!(
            mounts(&layout, text),
            ["/var/lib/s/c d", "/var/lib/s/a/b", "/var/lib/s/a"]
        );
    }

    #[test]
    fn a_folder_that_this_program_did_not_make_is_not_removed() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("precious"), "x").expect("written");
        let layout = Layout {
            state: folder.path().to_string_lossy().into_owned(),
            cache: "/c".to_owned(),
        };
        let mut out = Vec::new();
        let error = down(&layout, &mut Progress::new(&mut out, false))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("not touching"), "{error}");
        assert!(folder.path().join("precious").exists());
    }
}
