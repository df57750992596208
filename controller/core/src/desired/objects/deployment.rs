//! The Deployment of each process.

use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use slipway_crds::{
    labels, names,
    v1alpha1::{ReleaseProcess, ReleaseVolume},
};

use crate::desired::{Part, pod::long_running::Process};

/// Old ReplicaSets that Kubernetes keeps, so that going back to an earlier Release finds its own ReplicaSet again.
const KEPT_REPLICA_SETS: i32 = 2;

pub(crate) fn deployments(part: &Part<'_>) -> Vec<Deployment> {
    part.release
        .spec
        .processes
        .iter()
        .filter(|(name, process)| {
            part.live.wanted(name, process) != Some(0) || part.live.deployed.contains(*name)
        })
        .map(|(name, process)| deployment(part, name, process))
        .collect()
}

fn deployment(part: &Part<'_>, name: &str, process: &ReleaseProcess) -> Deployment {
    let volumes: Vec<&ReleaseVolume> = part.volumes(name).collect();
    let mut labels = part.labels();
    labels.insert(labels::PROCESS.to_owned(), name.to_owned());
    labels.insert(labels::COMPONENT.to_owned(), name.to_owned());
    labels.insert(
        labels::RELEASE.to_owned(),
        part.release.spec.number.to_string(),
    );
    let uptime = process.checks.iter().filter_map(|c| c.uptime).max();
    Deployment {
        metadata: ObjectMeta {
            name: Some(names::deployment(part.app(), name)),
            namespace: part.namespace(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![part.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(DeploymentSpec {
            replicas: part.live.wanted(name, process),
            selector: LabelSelector {
                match_labels: Some(labels::selector(part.app(), name)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy(volumes.iter().any(|v| v.single_node))),
            min_ready_seconds: uptime,
            progress_deadline_seconds: Some(deadline(part, uptime.unwrap_or_default())),
            revision_history_limit: Some(KEPT_REPLICA_SETS),
            template: part.renderer.process(&Process {
                part,
                name,
                spec: process,
                volumes: &volumes,
                labels,
            }),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// `Recreate` for a process with a volume that only one node may mount at a time: with a rolling update, the new pod
/// would wait for the old one forever.
fn strategy(single_node: bool) -> DeploymentStrategy {
    if single_node {
        return DeploymentStrategy {
            type_: Some("Recreate".to_owned()),
            rolling_update: None,
        };
    }
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            // Kubernetes rounds up: with up to four replicas, one pod at a time.
            max_surge: Some(IntOrString::String("25%".to_owned())),
        }),
    }
}

/// Kubernetes requires this to be greater than `minReadySeconds`.
fn deadline(part: &Part<'_>, uptime: i32) -> i32 {
    part.deploy_limit().max(uptime.saturating_add(1))
}
