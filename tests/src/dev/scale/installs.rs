//! Installs the operator that is measured: this tree's, or that of an earlier commit, which is built in a work tree of
//! its own below `target`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    dev::{
        install,
        steps::{aloud, cargo, note, quietly},
    },
    root,
};

/// Installs the operator of a commit, with its CRDs, by that commit's own commands.
pub(super) fn earlier(commit: &str) -> Result<()> {
    let tree = tree(commit)?;
    for verb in ["image", "install"] {
        let mut cargo = cargo(&tree);
        cargo
            .args([
                "run",
                "--locked",
                "--package=slipway-tests",
                "--bin=slipway-dev",
                "--",
                verb,
            ])
            .env_remove("CARGO_TARGET_DIR");
        aloud(&format!("{commit}: {verb}"), &mut cargo)?;
    }
    with_cluster_ips(&tree)
}

/// Installs the operator of this tree, as `make image` built it last.
pub(super) fn now() -> Result<()> {
    install::install(2)?;
    with_cluster_ips(&root())
}

/// Sets the Services' type to ClusterIP, because there are fewer node ports than Apps.
fn with_cluster_ips(tree: &std::path::Path) -> Result<()> {
    let mut values = install::installed()?;
    if let Some(apps) = values.get_mut("apps").and_then(Value::as_object_mut) {
        apps.insert("serviceType".to_owned(), json!("ClusterIP"));
        apps.remove("nodeAddress");
    }
    install::reinstall_from(&tree.join("charts/slipway"), &values)
}

/// The work tree of a commit. It is kept, with everything that was built in it.
fn tree(commit: &str) -> Result<PathBuf> {
    let plain = commit
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    ensure!(
        plain && !commit.starts_with(['.', '-']),
        "{commit} is not a commit's name"
    );
    let tree = root().join("target/bench-scale").join(commit);
    if tree.join("Cargo.toml").exists() {
        note(&format!("{} is there", tree.display()));
        return Ok(tree);
    }
    fs::create_dir_all(root().join("target/bench-scale"))?;
    let mut git = Command::new("git");
    git.current_dir(root())
        .args(["worktree", "add", "--force", "--detach"])
        .arg(&tree)
        .arg(commit);
    quietly(&format!("Checking out {commit}"), &mut git)?;
    Ok(tree)
}
