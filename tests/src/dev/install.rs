//! The chart → the operator in the local cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use slipway_cluster::facts::Facts;

use crate::{
    cluster::{self, NAMESPACE, OPERATOR},
    dev::{
        image::{self, Image},
        steps::{note, quietly},
    },
    root,
};

/// The user of the local cluster's kubeconfig.
const ADMIN: &str = "kubernetes-admin";

/// Installs the image that was pushed last, with so many replicas, and waits until they are Ready.
pub fn install(replicas: u32) -> Result<()> {
    let facts = cluster::facts()?;
    let values = values(&facts, &image::last()?, replicas)?;
    upgrade("Installing the operator", &facts, &chart(), &values)
}

/// The chart's values of the installed operator.
pub fn installed() -> Result<Value> {
    let mut get = helm(&cluster::facts()?);
    get.args(["get", "values", OPERATOR, "--output=json"]);
    let values = quietly("Reading the values of the operator", &mut get)?;
    Ok(serde_json::from_str(&values)?)
}

/// Changes the values of the installed operator, as its administrator does.
pub fn reinstall(values: &Value) -> Result<()> {
    reinstall_from(&chart(), values)
}

/// The same with the chart of another tree, from which the operator was installed.
pub fn reinstall_from(chart: &Path, values: &Value) -> Result<()> {
    let title = "Changing the operator's values";
    upgrade(title, &cluster::facts()?, chart, values)
}

fn chart() -> PathBuf {
    root().join("charts/slipway")
}

fn upgrade(title: &str, facts: &Facts, chart: &Path, values: &Value) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("values.json");
    fs::write(&file, serde_json::to_vec(values)?)?;
    let mut helm = helm(facts);
    helm.args(["upgrade", "--install", OPERATOR])
        .arg(chart)
        .arg("--create-namespace")
        .arg(format!("--values={}", file.display()))
        // The CRDs may have been installed before the chart, for the Stack.
        .args([
            "--take-ownership",
            "--force-conflicts",
            "--wait",
            "--timeout=3m",
        ]);
    if let Err(error) = quietly(title, &mut helm) {
        explain(facts);
        return Err(error);
    }
    Ok(())
}

fn helm(facts: &Facts) -> Command {
    let mut helm = Command::new(format!("{}/helm", facts.bin_dir));
    helm.arg(format!("--kubeconfig={}", facts.kubeconfig))
        .arg(format!("--namespace={NAMESPACE}"));
    helm
}

fn explain(facts: &Facts) {
    for question in [
        &["get", "pods", "--output=wide"][..],
        &["describe", "pods"],
        &["logs", "deployment/slipway", "--tail=40"],
    ] {
        let answer = Command::new(format!("{}/kubectl", facts.bin_dir))
            .arg(format!("--kubeconfig={}", facts.kubeconfig))
            .arg(format!("--namespace={NAMESPACE}"))
            .args(question)
            .output();
        if let Ok(answer) = answer {
            for line in String::from_utf8_lossy(&answer.stdout).lines() {
                note(line);
            }
        }
    }
}

/// The local cluster's addresses, certificates and accounts as the chart's values.
fn values(facts: &Facts, image: &Image, replicas: u32) -> Result<Value> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let at = |registry: &str| format!("{registry}/{}@{}", image.repository, image.digest);
    Ok(json!({
        "replicas": replicas,
        "image": {
            "repository": format!("{}/{}", facts.registry.pull, image.repository),
            "digest": image.digest,
            "forEngine": at(&facts.registry.engine),
        },
        "registry": {
            "address": facts.registry.push,
            "engineAddress": facts.registry.engine,
            "pullAddress": facts.registry.pull,
            "username": facts.registry.username,
            "password": read(&facts.registry.password_file)?.trim(),
            "ca": read(&facts.registry.ca_file)?,
        },
        "engine": {
            "address": facts.engine.address,
            "ca": read(&facts.engine.ca_file)?,
            "cert": read(&facts.engine.cert_file)?,
            "key": read(&facts.engine.key_file)?,
        },
        "builds": {"ca": read(&facts.ca_bundle_file)?},
        // The tests' git servers are on the node, and take passwords over plain http. Its Node does not name the pods'
        // network.
        "outside": {"allow": [facts.node_address], "cluster": [facts.pod_cidr]},
        // Tests make records by hand, like somebody who got past the admission policy.
        "records": {"alsoWrittenBy": [ADMIN]},
        "apps": {
            "serviceType": "NodePort",
            "nodeAddress": facts.node_address,
            "clusterDomain": facts.dns_domain,
        },
    }))
}
