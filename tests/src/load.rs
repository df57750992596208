//! A client in the cluster that requests an App again and again, over kept and over fresh connections, and counts the
//! answers.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, LogParams, PostParams},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    app::{READY, SOON},
    case::Case,
    wait,
};

const CLIENT: &str = include_str!("load.py");

/// A running client.
pub struct Load {
    name: String,
}

/// What it counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Counts {
    /// Answers of 200 over kept connections.
    pub kept: u64,
    /// Answers of 200 over fresh connections.
    pub fresh: u64,
    /// Kept connections that the server had closed while they were idle, and that were replaced before they were used.
    pub reopened: u64,
    /// Everything else, including lost requests.
    pub failed: u64,
    /// How long the slowest request took, in seconds.
    pub slowest: f64,
    /// How long it sent requests, in seconds.
    pub seconds: f64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// How often each body was seen.
    pub bodies: std::collections::BTreeMap<String, u64>,
}

impl Counts {
    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn rate(&self) -> f64 {
        (self.kept + self.fresh + self.failed) as f64 / self.seconds.max(0.001)
    }
}

impl Load {
    /// Starts a client of the App's Service and waits until it has had its first answers.
    pub async fn start(case: &Case, app: &str, image: &str) -> Result<Self> {
        let name = format!("load-{app}");
        let pods: Api<Pod> = case.api();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 10,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "client",
                    "image": image,
                    "command": ["python3", "-u", "-c", CLIENT, app],
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                    // It has had answers over both kinds of connections.
                    "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/started"]}, "periodSeconds": 1}
                }]
            }
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        let ready = |pod: &Pod| {
            pod.status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten())
                .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        wait::until(&pods, &name, READY, "asking", ready).await?;
        Ok(Self { name })
    }

    /// Stops the client and returns its counts.
    pub async fn stop(self, case: &Case) -> Result<Counts> {
        let pods: Api<Pod> = case.api();
        case.kubectl(&["exec", &self.name, "--", "touch", "/tmp/stop"])
            .await?;
        let over = |pod: &Pod| {
            pod.status
                .as_ref()
                .and_then(|s| s.phase.as_deref())
                .is_some_and(|p| p == "Succeeded" || p == "Failed")
        };
        wait::until(&pods, &self.name, SOON, "over", over).await?;
        let log = pods.logs(&self.name, &LogParams::default()).await?;
        pods.delete(&self.name, &DeleteParams::default()).await?;
        let last = log.lines().last().context("the client said nothing")?;
        serde_json::from_str(last).with_context(|| format!("the client said: {log}"))
    }
}
