//! The operator of an earlier commit, built in a work tree of its own below `target/earlier`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{
    dev::steps::{aloud, cargo, note, quietly},
    root,
};

/// Installs the operator of a commit, with its CRDs, by that commit's own commands. Returns the work tree.
pub fn install(commit: &str) -> Result<PathBuf> {
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
    Ok(tree)
}

/// The work tree of a commit; it is kept, with what was built in it.
fn tree(commit: &str) -> Result<PathBuf> {
    let plain = commit
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    ensure!(
        plain && !commit.starts_with(['.', '-']),
        "{commit} is not a commit's name"
    );
    let tree = root().join("target/earlier").join(commit);
    if tree.join("Cargo.toml").exists() {
        note(&format!("{} is there", tree.display()));
        return Ok(tree);
    }
    fs::create_dir_all(root().join("target/earlier"))?;
    let mut git = Command::new("git");
    git.current_dir(root())
        .args(["worktree", "add", "--force", "--detach"])
        .arg(&tree)
        .arg(commit);
    quietly(&format!("Checking out {commit}"), &mut git)?;
    Ok(tree)
}
