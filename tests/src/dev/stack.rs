//! Stack images and buildpacks → the registry, and the Stack that names them.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    cluster,
    dev::{
        image,
        steps::{aloud, quietly},
    },
    root,
};

/// Builds and publishes.
pub fn stack() -> Result<()> {
    images()?;
    publish(&root().join("controller/buildpacks/stack.yaml"), "default")
}

/// Publishes the stack's images, and the buildpacks beside a stack file, as the Stack of this name.
pub fn publish(stack_file: &Path, name: &str) -> Result<()> {
    let facts = cluster::facts()?;
    let operator = image::operator()?;
    let password = std::fs::read_to_string(&facts.registry.password_file)
        .context("the registry's password")?;
    aloud(
        "Publishing the stack",
        Command::new(operator)
            .current_dir(root())
            .args(["stack", "publish", "--apply"])
            .arg(format!("--name={name}"))
            .arg(format!("--stack-file={}", stack_file.display()))
            .arg(format!("--registry={}", facts.registry.push))
            .arg(format!("--username={}", facts.registry.username))
            .arg(format!("--ca={}", facts.registry.ca_file))
            .arg(format!("--docker=unix://{}", facts.engine.socket))
            .env("SLIPWAY_REGISTRY_PASSWORD", password.trim())
            .env("KUBECONFIG", &facts.kubeconfig),
    )
}

/// Builds the stack's images on the cluster's engine. The first time, it unpacks Debian and installs compilers.
pub fn images() -> Result<()> {
    let facts = cluster::facts()?;
    quietly("The Stack needs the cluster's own kinds", &mut crds(&facts))?;
    aloud(
        "Building the stack's images",
        Command::new(root().join("controller/stack/images.sh"))
            .env("DOCKER_HOST", format!("unix://{}", facts.engine.socket)),
    )
}

fn crds(facts: &slipway_cluster::facts::Facts) -> Command {
    let mut kubectl = Command::new(format!("{}/kubectl", facts.bin_dir));
    kubectl
        .arg(format!("--kubeconfig={}", facts.kubeconfig))
        .args(["apply", "--server-side", "--force-conflicts", "--filename"])
        .arg(root().join("charts/slipway/files/crds"));
    kubectl
}
