//! The cluster's Docker Engine, through the docker command: what runs on it, what has run, and what is left.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use slipway_cluster::facts::Facts;

use crate::{app::SOON, wait};

/// Name of a zone's container. It is written out here because an operator of another version finds it by this name.
pub fn container(uid: &str, zone: &str) -> String {
    format!("slipway-{uid}-{zone}")
}

/// Runs docker against the cluster's engine. Returns its output.
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

/// Delay between two tries to freeze. It is short, because some containers run for less than a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Freezes a container as soon as it runs. Returns its [`state`].
pub async fn freeze(facts: &Facts, container: &str, limit: Duration) -> Result<String> {
    let what = format!("{container} frozen");
    let state = wait::until_true_every(PAUSE, limit, &what, || async {
        // If this fails because the container does not run or is frozen already, its state shows it.
        let _ = docker(facts, &["pause", container]).await;
        let state = state(facts, container).await?;
        let over = state.contains("paused") || state.contains("exited");
        Ok(over.then_some(state))
    })
    .await?;
    ensure!(
        state.contains("paused"),
        "{container} was over before it was seen to run: {state}"
    );
    Ok(state)
}

/// Lets a frozen container continue.
pub async fn thaw(facts: &Facts, container: &str) -> Result<()> {
    docker(facts, &["unpause", container]).await.map(drop)
}

/// Id, start time and status of the container with this name.
pub async fn state(facts: &Facts, container: &str) -> Result<String> {
    let format = "--format={{.Id}} {{.State.StartedAt}} {{.State.Status}}";
    let question = ["container", "inspect", format, container];
    Ok(docker(facts, &question).await?.trim().to_owned())
}

/// Names of a Build's containers, one for each start, in order, since `since` (in seconds of Unix time). The engine
/// keeps only its last 256 events.
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

/// Waits until no object on the engine has this label.
pub async fn until_none_left(facts: &Facts, label: &str) -> Result<()> {
    let what = format!("rid of what has {label} on the engine");
    wait::until_true(SOON, &what, || async {
        let left = left(facts, label).await?;
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(Some(()))
    })
    .await
}

/// Containers, volumes and networks with this label.
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
    let networks = docker(
        facts,
        &[
            "network",
            "ls",
            "--filter",
            &filter,
            "--format",
            "network {{.Name}}",
        ],
    )
    .await?;
    Ok(containers
        .lines()
        .chain(volumes.lines())
        .chain(networks.lines())
        .map(str::to_owned)
        .collect())
}
