//! The source → the operator's image in a registry: the local cluster's, or any.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    cluster,
    dev::steps::{self, aloud, docker, docker_of_user, note, quietly, step},
    root,
};

/// Name of the operator's image on the engine and in the registry.
const NAME: &str = "slipway-operator";
/// Base of the stack's images, and of this one unless another is named.
pub const BASE: &str = "slipway-base:trixie";
/// Programs that are linked statically, because they run in images that are not ours.
const STATIC: [&str; 4] = [
    "slipway-builder",
    "slipway-launcher",
    "slipway-pack",
    "slipway-prober",
];

/// The image that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Repository, without the registry's host.
    pub repository: String,
    /// Digest of its manifest.
    pub digest: String,
}

/// Builds the operator's program and returns its path.
pub fn operator() -> Result<PathBuf> {
    // As in the Makefile: with --package, dependencies would be compiled again, with fewer features.
    aloud("Building the operator", cargo("build").arg("--bin=slipway"))?;
    Ok(root().join("target/release/slipway"))
}

/// Builds the static programs and returns their folder.
pub fn programs() -> Result<PathBuf> {
    let folder = root().join("target/release");
    for name in STATIC {
        let mut cargo = cargo("rustc");
        // Only the program is linked statically; its dependencies are compiled once for it and the operator.
        cargo
            .args(["--package=slipway-agents", "--bin", name, "--"])
            .args(["-C", "target-feature=+crt-static"]);
        aloud(&format!("Building {name}"), &mut cargo)?;
        is_static(&folder.join(name))?;
    }
    Ok(folder)
}

/// Builds the image and pushes it to the local cluster's registry.
pub fn image(base: &str) -> Result<()> {
    let facts = cluster::facts()?;
    build(&mut docker(&facts), base, NAME)?;
    let loaded = slipway_cluster::load::load(&cluster::layout()?, NAME)?;
    note(&loaded.pull);
    let image = Image {
        repository: NAME.to_owned(),
        digest: loaded.digest,
    };
    Ok(fs::write(record(), serde_json::to_string(&image)?)?)
}

/// Builds the image and pushes it to `repository`, with the engine and the login of the docker client.
pub fn elsewhere(base: &str, repository: &str) -> Result<()> {
    let last = repository.rsplit('/').next().unwrap_or_default();
    if last == repository || last.contains([':', '@']) {
        bail!(
            "{repository} is no repository to push to: name the registry's host and no tag, as in registry.example.com/slipway/operator"
        );
    }
    let image = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
    build(&mut docker_of_user(), base, &image)?;
    let said = quietly(
        &format!("Pushing {image}"),
        docker_of_user().args(["push", &image]),
    )
    .with_context(|| format!("if it asks for an account, run `docker login` for {repository}"))?;
    let digest = slipway_cluster::load::pushed(&said)
        .with_context(|| format!("the engine named no digest after pushing {image}"))?;
    step("For the chart's values");
    note(&format!(
        "image: {{repository: {repository}, digest: \"{digest}\"}}"
    ));
    Ok(())
}

/// Builds the image on the engine of `docker`.
fn build(docker: &mut Command, base: &str, tag: &str) -> Result<()> {
    let operator = operator()?;
    let programs = programs()?;
    let context = root().join("target/image");
    let (bin, lib) = (context.join("bin"), context.join("lib"));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&lib)?;
    copy(
        &root().join("controller/image/Dockerfile"),
        &context.join("Dockerfile"),
    )?;
    copy(&operator, &bin.join("slipway"))?;
    for name in STATIC {
        copy(&programs.join(name), &lib.join(name))?;
    }
    quietly(
        "Building the operator's image",
        docker
            .args(["build", "--tag", tag, "--build-arg"])
            .arg(format!("BASE={base}"))
            .arg(&context),
    )
    .with_context(|| {
        format!("if {BASE} is missing, run controller/stack/images.sh first, or name a Debian trixie in BASE")
    })
    .map(drop)
}

/// The image that was pushed last.
pub fn last() -> Result<Image> {
    let text = fs::read_to_string(record())
        .context("the operator's image was not built: run `make image`")?;
    Ok(serde_json::from_str(&text)?)
}

fn record() -> PathBuf {
    root().join("target/image/pushed.json")
}

fn cargo(verb: &str) -> Command {
    let mut command = steps::cargo(&root());
    command.args([verb, "--release", "--locked"]);
    command
}

/// Copies a file unless `to` has the same content already, so that the image's layers stay the same.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::copy(from, to).with_context(|| to.display().to_string())?;
    Ok(())
}

/// Checks that a program has no interpreter, and so needs no library of the image that it runs in.
fn is_static(program: &Path) -> Result<()> {
    let output = Command::new("readelf")
        .args(["--program-headers", "--wide"])
        .arg(program)
        .output()
        .context("readelf (Debian package binutils)")?;
    if String::from_utf8_lossy(&output.stdout).contains(" INTERP ") {
        bail!("{} is not static", program.display());
    }
    Ok(())
}
