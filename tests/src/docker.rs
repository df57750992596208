//! The cluster's Docker Engine, by its command line: what ran on it, and what is left.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use slipway_cluster::facts::Facts;

/// Runs docker against the cluster's engine; its output.
pub async fn docker(facts: &Facts, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new("docker")
        .arg("--host")
        .arg(format!("unix://{}", facts.engine.socket))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("docker")?;
    if !output.status.success() {
        bail!(
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Names of the containers of a Build that were started, in order, once for each start, since the engine began to
/// remember (its last 256 events) or since `since`, in seconds of Unix time.
pub async fn starts(facts: &Facts, build_uid: &str, since: i64) -> Result<Vec<String>> {
    let text = docker(
        facts,
        &[
            "events",
            "--since",
            &since.to_string(),
            "--until",
            "0s",
            "--filter",
            "event=start",
            "--filter",
            &format!("label=slipway.dev/build-uid={build_uid}"),
            "--format",
            "{{.Actor.Attributes.name}}",
        ],
    )
    .await?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Containers and volumes that carry a label of ours with this value.
pub async fn left(facts: &Facts, label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let containers = docker(
        facts,
        &[
            "ps",
            "--all",
            "--filter",
            &filter,
            "--format",
            "container {{.Names}}",
        ],
    )
    .await?;
    let volumes = docker(
        facts,
        &[
            "volume",
            "ls",
            "--filter",
            &filter,
            "--format",
            "volume {{.Name}}",
        ],
    )
    .await?;
    Ok(containers
        .lines()
        .chain(volumes.lines())
        .map(str::to_owned)
        .collect())
}
