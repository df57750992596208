//! Makes, empties and removes the two control groups below which every container of the cluster runs, in version 1 or
//! 2, whichever the machine has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The pods' group.
pub const PODS: &str = "slipway-cluster";
/// The engine's group.
pub const ENGINE: &str = "slipway-engine";

/// The folder of every hierarchy in a text like /proc/self/mountinfo.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let kind = after.split(' ').next()?;
            let at = before.split(' ').nth(4)?;
            (matches!(kind, "cgroup" | "cgroup2") && at.starts_with("/sys/fs/cgroup"))
                .then(|| PathBuf::from(at))
        })
        .collect()
}

fn roots() -> Vec<PathBuf> {
    hierarchies(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Makes the pods' group in every hierarchy: the kubelet requires it.
pub fn create() -> Result<()> {
    for root in roots() {
        let group = root.join(PODS);
        if !group.exists() {
            fs::create_dir(&group).with_context(|| format!("creating {}", group.display()))?;
        }
        // In version 1 a new group may use no processor and no memory node until these files are written.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(root.join(file))
                && group.join(file).exists()
            {
                fs::write(group.join(file), value.trim())
                    .with_context(|| format!("setting {file} of {}", group.display()))?;
            }
        }
        // In version 2 a group passes on only the controllers that are enabled in it.
        if let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) {
            for controller in controllers.split_whitespace() {
                let word = format!("+{controller}");
                let _ = fs::write(root.join("cgroup.subtree_control"), &word);
                let _ = fs::write(group.join("cgroup.subtree_control"), &word);
            }
        }
    }
    Ok(())
}

/// Checks that groups can be made here: makes one in every hierarchy and removes it again.
pub fn try_out() -> Result<()> {
    let roots = roots();
    if roots.is_empty() {
        bail!("none is mounted below /sys/fs/cgroup");
    }
    for root in roots {
        let group = root.join(format!("{PODS}-tried"));
        let _ = fs::remove_dir(&group);
        fs::create_dir(&group)
            .and_then(|()| fs::remove_dir(&group))
            .with_context(|| format!("creating {}", group.display()))?;
    }
    Ok(())
}

/// Every process below a group.
pub fn processes(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for root in roots() {
        visit(&root.join(name), &mut |folder| {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        });
    }
    // Zero means a process of another PID namespace, which cannot be one of ours.
    found.retain(|pid| *pid > 1);
    found.sort_unstable();
    found.dedup();
    found
}

/// Removes both groups, which have no process any more. Returns the folders that are left.
pub fn remove() -> Vec<String> {
    let mut left = Vec::new();
    for root in roots() {
        for name in [PODS, ENGINE] {
            let group = root.join(name);
            visit(&group, &mut |folder| {
                let _ = fs::remove_dir(folder);
            });
            if group.exists() {
                left.push(group.display().to_string());
            }
        }
    }
    left
}

/// Visits children before their parent.
fn visit(folder: &Path, act: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), act);
        }
    }
    act(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu\n40 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n50 1 0:31 / /elsewhere rw - cgroup2 none rw\n";
        assert_eq!(
            hierarchies(mounts),
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"].map(PathBuf::from)
        );
    }
}
