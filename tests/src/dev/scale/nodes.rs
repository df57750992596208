//! Simulated nodes, on which pods only seem to run: kwok, configured by `stages.yaml`, and the policy that places our
//! pods there.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use slipway_cluster::facts::Facts;
use tokio::process::{Child, Command};

use crate::{
    dev::scale::kubectl::{apply, kubectl},
    root, wait,
};

const STAGES: &str = include_str!("stages.yaml");
const PLACEMENT: &str = include_str!("placement.yaml");
/// Label, taint and annotation of the nodes.
const MARK: &str = "slipway.dev/simulated";
/// Pods of a node: as many as a kubelet accepts by default.
const PODS: usize = 110;
/// The range reserved for benchmarks (RFC 2544): nobody answers there.
const ADDRESSES: &str = "198.18.0.0/15";

/// Nodes that exist until [`Self::remove`].
pub(super) struct Nodes<'a> {
    facts: &'a Facts,
    _kwok: Child,
    _stages: tempfile::TempDir,
}

impl<'a> Nodes<'a> {
    /// Makes enough nodes for so many pods and half as many again, because a change runs old and new pods at once.
    pub(super) async fn for_pods(facts: &'a Facts, pods: usize) -> Result<Self> {
        let program = format!("{}/kwok", facts.bin_dir);
        let folder = tempfile::tempdir()?;
        let stages = folder.path().join("stages.yaml");
        fs::write(&stages, STAGES)?;
        ensure!(
            Path::new(&program).exists(),
            "there is no {program}: `slipway-cluster tools kwok` builds it"
        );
        let log = root().join("target/bench-scale/kwok.log");
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        // kwok ends with this program, however this program ends.
        let kwok = Command::new("setpriv")
            .args(["--pdeathsig=TERM", &program])
            .arg(format!("--kubeconfig={}", facts.kubeconfig))
            .arg(format!("--config={}", stages.display()))
            .arg(format!(
                "--manage-nodes-with-annotation-selector={MARK}=true"
            ))
            .arg("--manage-all-nodes=false")
            // A Lease keeps a node Ready.
            .arg("--node-lease-duration-seconds=40")
            .arg(format!("--cidr={ADDRESSES}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("setpriv (Debian package util-linux)")?;
        let count = (pods + pods / 2).div_ceil(PODS);
        let nodes: Vec<String> = (0..count).map(node).collect();
        apply(facts, &format!("{PLACEMENT}---\n{}", nodes.join("\n---\n"))).await?;
        let selector = format!("--selector={MARK}=true");
        let ready = [
            "wait",
            "node",
            &selector,
            "--for=condition=Ready",
            "--timeout=2m",
        ];
        kubectl(facts, &ready, "").await?;
        placed(facts).await?;
        Ok(Self {
            facts,
            _kwok: kwok,
            _stages: folder,
        })
    }

    /// Removes the nodes.
    pub(super) async fn remove(self) -> Result<()> {
        let selector = format!("--selector={MARK}=true");
        kubectl(self.facts, &["delete", "node", &selector], "").await?;
        let words = ["delete", "--ignore-not-found", "--filename=-"];
        kubectl(self.facts, &words, PLACEMENT).await.map(drop)
    }
}

fn node(n: usize) -> String {
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": PODS.to_string()});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": format!("simulated-{n}"),
            "labels": {MARK: "true", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
            "annotations": {MARK: "true"},
        },
        "spec": {"taints": [{"key": MARK, "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room},
    })
    .to_string()
}

/// Waits until the API server places pods there: a new policy takes effect only after some moments.
async fn placed(facts: &Facts) -> Result<()> {
    const NAMESPACE: &str = "scale-placement";
    let labels = json!({"slipway.dev/bench-scale": "true"});
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels},
    });
    apply(facts, &namespace.to_string()).await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "none", "image": "none"}]},
    });
    let limit = Duration::from_mins(1);
    let result = wait::until_true(limit, "sent to simulated nodes", || async {
        let words = [
            "create",
            "--dry-run=server",
            "--output=yaml",
            "--filename=-",
        ];
        let answer = kubectl(facts, &words, &pod.to_string()).await?;
        Ok(answer.contains(MARK).then_some(()))
    })
    .await;
    kubectl(facts, &["delete", "namespace", NAMESPACE], "").await?;
    result
}
