//! Small real apps → repositories.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};

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

/// A file of an app's fixture.
pub fn text(fixture: &str, file: &str) -> Result<String> {
    let path = root().join("tests/fixtures/apps").join(fixture).join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A repository with the buildpack fixture of this name.
pub fn pack(name: &str, fixture: &str) -> Result<Repository> {
    let repository = Server::shared()?.repository(name)?;
    let from = root().join("tests/fixtures/packs").join(fixture);
    copy_to(&from, repository.folder())?;
    repository.commit("first")?;
    Ok(repository)
}

/// A pull secret for images of the local registry.
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

/// Builds the image fixture of this name on the cluster's engine and pushes it. Returns its reference for an App, by
/// digest.
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

/// An image that everybody may look up and nobody can pull, because its last layer, which no other image has, was
/// deleted. `unique` distinguishes it from those of other cases.
pub fn image_without_a_layer(cluster: &Cluster, unique: &str) -> Result<String> {
    const REPOSITORY: &str = "fixtures/incomplete";
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("unique"), unique)?;
    fs::write(
        folder.path().join("Dockerfile"),
        "FROM slipway-stack-run:heroku-24\nCOPY unique /unique\nUSER 1000\nEXPOSE 8080\nCMD [\"true\"]\n",
    )?;
    let name = format!("{REPOSITORY}:{unique}");
    quietly(
        &format!("Building the image {name}"),
        docker(&cluster.facts)
            .args(["build", "--tag", &name])
            .arg(folder.path()),
    )?;
    let image = slipway_cluster::load::load(&layout()?, &name)?;
    let accept = "Accept: application/vnd.docker.distribution.manifest.v2+json";
    let manifest = ask_registry(
        cluster,
        &["--header", accept],
        &format!("/v2/{REPOSITORY}/manifests/{}", image.digest),
    )?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let layers = manifest
        .pointer("/layers")
        .and_then(serde_json::Value::as_array)
        .context("layers")?;
    let last = layers
        .last()
        .and_then(|layer| layer.get("digest")?.as_str());
    let last = last.context("a layer with a digest")?;
    let blob = format!("/v2/{REPOSITORY}/blobs/{last}");
    ask_registry(cluster, &["--request", "DELETE"], &blob)?;
    Ok(image.pull)
}

/// Pushes the image fixture of this name with a tag of its own. Returns its reference for an App, by tag.
pub fn tagged(cluster: &Cluster, fixture: &str, name: &str) -> Result<String> {
    image(cluster, fixture)?;
    quietly(
        &format!("Calling it {name}"),
        docker(&cluster.facts).args(["tag", &format!("fixtures/{fixture}"), name]),
    )?;
    Ok(slipway_cluster::load::load(&layout()?, name)?.tag)
}

/// Pushes an image without files for machines of another architecture.
pub fn image_for(cluster: &Cluster, architecture: &str, repository: &str, tag: &str) -> Result<()> {
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"User": "1000", "Cmd": ["true"]},
    })
    .to_string();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&config)));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind, "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()},
    })
    .to_string();
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let begun = ask_registry(
        cluster,
        &["--request", "POST", "--dump-header", "-"],
        &uploads,
    )?;
    let mut headers = begun.lines().filter_map(|line| line.split_once(": "));
    let upload = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let (_, upload) = upload.context("where to upload to")?;
    let (_, upload) = upload.split_once("/v2/").context("a path")?;
    let binary = "Content-Type: application/octet-stream";
    ask_registry(
        cluster,
        &[
            "--request",
            "PUT",
            "--header",
            binary,
            "--data-binary",
            &config,
        ],
        &format!("/v2/{upload}&digest={digest}"),
    )?;
    ask_registry(
        cluster,
        &[
            "--request",
            "PUT",
            "--header",
            &format!("Content-Type: {kind}"),
            "--data-binary",
            &manifest,
        ],
        &format!("/v2/{repository}/manifests/{tag}"),
    )
    .map(drop)
}

/// Sends a request to the cluster's registry, with the account that may write.
fn ask_registry(cluster: &Cluster, more: &[&str], path: &str) -> Result<String> {
    let registry = &cluster.facts.registry;
    let password = fs::read_to_string(&registry.password_file)?;
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--user"])
        .arg(format!("{}:{}", registry.username, password.trim()))
        .args(["--cacert", &registry.ca_file])
        .args(more)
        .arg(format!("https://{}{}", registry.push, path.trim()));
    quietly(&format!("Asking the registry for {path}"), &mut curl)
}
