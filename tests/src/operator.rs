//! The operator in the cluster: killed, and brought back.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};

use crate::{
    cluster::{Cluster, NAMESPACE, OPERATOR},
    wait,
};

const LIMIT: Duration = Duration::from_mins(1);

/// The operator's pods.
pub async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let labels = format!("app.kubernetes.io/name={OPERATOR}");
    Ok(api
        .list(&ListParams::default().labels(&labels))
        .await?
        .items)
}

/// `kill -9` of every process of the operator, then of its pod, so that the next one starts without the kubelet's
/// back-off. Returns when it is Ready again.
pub async fn kill(cluster: &Cluster) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    for pod in pods(cluster).await? {
        let uid = pod.metadata.uid.context("a pod has a UID")?;
        let killed = kill_processes(&uid)?;
        ensure!(killed > 0, "no process of the operator was found to kill");
        let name = pod.metadata.name.context("a pod has a name")?;
        let now = DeleteParams::default().grace_period(0);
        api.delete(&name, &now).await?;
    }
    ready(cluster).await
}

/// Waits until every replica is Ready.
pub async fn ready(cluster: &Cluster) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    wait::until(&api, OPERATOR, LIMIT, "all of its replicas Ready", |d| {
        let wanted = d.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        let status = d.status.clone().unwrap_or_default();
        status.observed_generation == d.metadata.generation
            && status.ready_replicas == Some(wanted)
            && status.updated_replicas == Some(wanted)
            && status.replicas == Some(wanted)
    })
    .await
    .map(drop)
}

/// Resident memory of each replica, in MB.
pub async fn memory(cluster: &Cluster) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for pod in pods(cluster).await? {
        let uid = pod.metadata.uid.context("a pod has a UID")?;
        let mut kilobytes = 0.0;
        for pid in processes(&uid)? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            kilobytes += status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok())
                .unwrap_or(0.0);
        }
        found.push(kilobytes / 1000.0);
    }
    Ok(found)
}

/// Kills the processes of a pod's containers; how many there were.
fn kill_processes(pod_uid: &str) -> Result<usize> {
    let mut killed = 0;
    for pid in processes(pod_uid)? {
        let status = std::process::Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()?;
        killed += usize::from(status.success());
    }
    Ok(killed)
}

/// The processes of a pod's containers but its pause container's.
fn processes(pod_uid: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if cgroup.contains(pod_uid) && program.trim() != "pause" {
            found.push(pid);
        }
    }
    Ok(found)
}
