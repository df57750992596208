//! Small real apps → repositories.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use base64::Engine as _;

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

/// A repository with the buildpack fixture of this name.
pub fn pack(name: &str, fixture: &str) -> Result<Repository> {
    let repository = Server::shared()?.repository(name)?;
    let from = root().join("tests/fixtures/packs").join(fixture);
    copy_to(&from, repository.folder())?;
    repository.commit("first")?;
    Ok(repository)
}

/// A Secret with which images of the local registry are looked up and pulled.
pub fn pull_secret(cluster: &Cluster, name: &str) -> Result<String> {
    let registry = &cluster.facts.registry;
    let password = fs::read_to_string(&registry.password_file)?;
    let account = format!("{}:{}", registry.username, password.trim());
    let auth = base64::engine::general_purpose::STANDARD.encode(account);
    let config = serde_json::json!({"auths": {registry.pull.as_str(): {"auth": auth}}});
    Ok(serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config.to_string()}
    })
    .to_string())
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
    Ok(slipway_cluster::load::load(&layout()?, &name)?.pull)
}
