//! Runs kubectl as the cluster's admin.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use slipway_cluster::facts::Facts;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Runs kubectl with `input` on its standard input. Returns its output.
pub(super) async fn kubectl(facts: &Facts, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(format!("{}/kubectl", facts.bin_dir))
        .arg(format!("--kubeconfig={}", facts.kubeconfig))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kubectl")?;
    let mut stdin = child.stdin.take().context("its input")?;
    let feed = async {
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        anyhow::Ok(())
    };
    let (given, output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {}: {errors}", arguments.join(" "));
    }
    given?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many users apply their objects at the same time.
const AT_ONCE: usize = 10;

/// Applies the objects of many users, each of whom runs kubectl.
pub(super) async fn apply_all(facts: &Facts, texts: &[String]) -> Result<()> {
    let users = stream::iter(texts).map(|text| apply(facts, text));
    users.buffer_unordered(AT_ONCE).try_collect().await
}

/// Applies objects, as a user does.
pub(super) async fn apply(facts: &Facts, yaml: &str) -> Result<()> {
    let words = ["apply", "--filename=-"];
    kubectl(facts, &words, yaml).await.map(drop)
}
