//! Kills the operator in the cluster, and waits until it is back.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams},
};
use serde::de::DeserializeOwned;

use crate::{
    cluster::{self, Cluster, NAMESPACE, OPERATOR},
    wait,
};

/// Name of the Lease that the leader holds.
const LEASE: &str = "slipway-operator";
const LIMIT: Duration = Duration::from_mins(3);

/// The operator's pods.
pub async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let labels = format!("app.kubernetes.io/name={OPERATOR}");
    Ok(api
        .list(&ListParams::default().labels(&labels))
        .await?
        .items)
}

/// `kill -9` of every replica. Returns when all are Ready again and one of them leads. It deletes the Lease as well:
/// otherwise what was interrupted would have time to end by itself before the Lease expires.
pub async fn kill(cluster: &Cluster) -> Result<()> {
    let dead = strike(cluster, &pods(cluster).await?).await?;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    leases.delete(LEASE, &DeleteParams::default()).await?;
    succeeded(cluster, &dead).await
}

/// `kill -9` of every replica, without deleting the Lease: the next one leads when the Lease has expired.
pub async fn kill_until_the_lease_expires(cluster: &Cluster) -> Result<()> {
    let dead = strike(cluster, &pods(cluster).await?).await?;
    succeeded(cluster, &dead).await
}

/// `kill -9` of the replica that leads. Returns its name.
pub async fn kill_leader(cluster: &Cluster) -> Result<String> {
    let leader = leader(cluster).await?;
    let mut pods = pods(cluster).await?;
    pods.retain(|pod| pod.metadata.name.as_deref() == Some(&leader));
    strike(cluster, &pods).await?;
    Ok(leader)
}

/// Kills the processes of pods, then deletes the pods, so that the next ones start without the kubelet's back-off.
/// Returns their names.
async fn strike(cluster: &Cluster, pods: &[Pod]) -> Result<Vec<String>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let mut dead = Vec::new();
    for pod in pods {
        let uid = pod.metadata.uid.as_deref().context("a pod has a UID")?;
        ensure!(kill_processes(uid)? > 0, "no process was found to kill");
        let name = pod.metadata.name.clone().context("a pod has a name")?;
        let now = DeleteParams::default().grace_period(0);
        api.delete(&name, &now).await?;
        dead.push(name);
    }
    ensure!(!dead.is_empty(), "the operator does not run");
    Ok(dead)
}

/// Waits until a replica that is not one of the dead leads, and all are Ready.
pub async fn succeeded(cluster: &Cluster, dead: &[String]) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    wait::any(&leases, LIMIT, "held by another replica", |lease| {
        lease.metadata.name.as_deref() == Some(LEASE)
            && holder(lease).is_some_and(|holder| !dead.contains(&holder))
    })
    .await?;
    ready(cluster).await
}

/// Name of the pod that leads.
pub async fn leader(cluster: &Cluster) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    holder(&leases.get(LEASE).await?).context("nobody leads")
}

fn holder(lease: &Lease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

/// Waits until the replica that leads has reconciled as many objects of the kind as there are, by its own metrics.
pub async fn looked_at_all<K>(cluster: &Cluster, controller: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let what = format!("{controller} has looked at everything");
    wait::until_true(LIMIT, &what, || async {
        let all: Api<K> = Api::all(cluster.client.clone());
        let objects = all.list_metadata(&ListParams::default()).await?.items.len();
        Ok((reconciles(cluster, controller).await? >= objects).then_some(()))
    })
    .await
}

/// How many reconciles of a controller the replica that leads has counted.
async fn reconciles(cluster: &Cluster, controller: &str) -> Result<usize> {
    let leader = leader(cluster).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{leader}:8080/proxy/metrics");
    let answer = cluster::request(&cluster.client, &path).await?;
    if answer.status != 200 {
        bail!("the meters of {leader}: {answer:?}");
    }
    let meter = format!("controller_runtime_reconcile_total{{controller=\"{controller}\",");
    let counts = answer
        .body
        .lines()
        .filter(|line| line.starts_with(&meter))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok());
    Ok(counts.sum())
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
    memory_as(cluster, "VmRSS:").await
}

/// Highest resident memory of each replica since it started, in MB.
pub async fn peak_memory(cluster: &Cluster) -> Result<Vec<f64>> {
    memory_as(cluster, "VmHWM:").await
}

async fn memory_as(cluster: &Cluster, figure: &str) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for pod in pods(cluster).await? {
        let uid = pod.metadata.uid.context("a pod has a UID")?;
        let mut kilobytes = 0.0;
        for pid in processes(&uid)? {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            kilobytes += status
                .lines()
                .find_map(|line| line.strip_prefix(figure))
                .and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok())
                .unwrap_or(0.0);
        }
        found.push(kilobytes / 1000.0);
    }
    Ok(found)
}

/// Kills the processes of a pod's containers. Returns how many there were.
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

/// The processes of a pod's containers, without its pause container's.
pub(crate) fn processes(pod_uid: &str) -> Result<Vec<u32>> {
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
