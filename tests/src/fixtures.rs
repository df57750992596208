//! Small real apps → repositories.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cluster::{Cluster, layout},
    dev::steps::{docker, quietly},
    git::{Repository, Server},
    root,
};

/// A repository with the fixture of this name, committed once. `name` is the repository's.
pub fn repository(name: &str, fixture: &str) -> Result<Repository> {
    let repository = Server::shared()?.repository(name)?;
    copy(&repository, fixture)?;
    repository.commit("first")?;
    Ok(repository)
}

/// Puts the files of a fixture into the repository's folder.
pub fn copy(repository: &Repository, fixture: &str) -> Result<()> {
    let from = root().join("tests/fixtures/apps").join(fixture);
    copy_to(&from, repository.folder())
}

/// Copies a folder.
pub fn copy_to(from: &Path, to: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(from).sort_by_file_name() {
        let entry = entry.with_context(|| format!("the fixture {}", from.display()))?;
        let to = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Builds the image fixture of this name on the cluster's engine, pushes it, and gives its name for an App, by digest.
pub fn image(cluster: &Cluster, fixture: &str) -> Result<String> {
    let name = format!("fixtures/{fixture}");
    quietly(
        &format!("Building the image {name}"),
        docker(&cluster.facts)
            .args(["build", "--tag", &name])
            .arg(root().join("tests/fixtures/images").join(fixture)),
    )?;
    Ok(slipway_cluster::up::load(&layout()?, &name)?.pull)
}
