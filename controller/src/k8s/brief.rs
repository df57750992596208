//! Objects that may have a megabyte → what is read of them where all of a kind are listed. Pure. Anybody may have written
//! into them; what is written to is read whole before.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::{Container, Event, PersistentVolumeClaim, Pod, PodSpec, Service},
    },
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta},
};
use serde_json::json;
use slipway_crds::GROUP;

/// Most bytes that are kept of what an Event says.
const SAID: usize = 4096;
/// Most owners of an object that are kept.
const OWNERS: usize = 8;

/// How many there are to be, and who says so.
pub(crate) fn deployment(deployment: &mut Deployment) {
    meta(&mut deployment.metadata);
    deployment.spec = deployment.spec.take().map(|spec| DeploymentSpec {
        replicas: spec.replicas,
        ..DeploymentSpec::default()
    });
    if let Some(status) = &mut deployment.status {
        status.conditions = None;
    }
}

/// How many there are. What its pods are made from only where that is `asked` for.
pub(crate) fn replica_set(set: &mut ReplicaSet, asked: bool) {
    meta(&mut set.metadata);
    set.spec = set.spec.take().map(|spec| ReplicaSetSpec {
        replicas: spec.replicas,
        template: spec.template.filter(|_| asked),
        ..ReplicaSetSpec::default()
    });
    if let Some(status) = &mut set.status {
        status.conditions = None;
    }
}

/// What it is called, and whose it is.
pub(crate) fn service(service: &mut Service) {
    meta(&mut service.metadata);
    service.spec = None;
    service.status = None;
}

/// Its size.
pub(crate) fn claim(claim: &mut PersistentVolumeClaim) {
    meta(&mut claim.metadata);
    claim.status = None;
}

/// How it stands, and what its containers may use.
pub(crate) fn pod(pod: &mut Pod) {
    meta(&mut pod.metadata);
    let container = |container: Container| Container {
        name: container.name,
        resources: container.resources,
        ..Container::default()
    };
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        ..PodSpec::default()
    });
}

/// What it says, as far as anybody would read.
pub(crate) fn event(event: &mut Event) {
    meta(&mut event.metadata);
    if let Some(message) = &mut event.message {
        message.truncate(message.floor_char_boundary(SAID));
    }
}

/// What tells an object from others, whose it is, our labels, and whose its number of replicas is.
fn meta(meta: &mut ObjectMeta) {
    let whole = std::mem::take(meta);
    let labels = whole.labels.map(|mut labels| {
        labels.retain(|name, _| name.starts_with(GROUP) || name.starts_with("app.kubernetes.io/"));
        labels
    });
    let owners = whole.owner_references.map(|mut owners| {
        owners.truncate(OWNERS);
        owners
    });
    *meta = ObjectMeta {
        annotations: None,
        finalizers: None,
        labels,
        managed_fields: whole
            .managed_fields
            .map(|e| e.into_iter().map(number).collect()),
        owner_references: owners,
        ..whole
    };
}

/// Whether it has the number of replicas.
fn number(entry: ManagedFieldsEntry) -> ManagedFieldsEntry {
    let fields = entry.fields_v1.map(|fields| {
        let has = fields.0.pointer("/f:spec/f:replicas").is_some();
        FieldsV1(if has {
            json!({"f:spec": {"f:replicas": {}}})
        } else {
            json!({})
        })
    });
    ManagedFieldsEntry {
        fields_v1: fields,
        ..entry
    }
}
