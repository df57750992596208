//! Objects of up to a megabyte → the parts of them that caches keep. Pure. Tenants may have put anything into these
//! objects. Before the operator applies over one, it reads it whole.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec},
        core::v1::{
            Container, Event, PersistentVolumeClaim, Pod, PodSpec, PodTemplateSpec, Service,
            ServiceAccount,
        },
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta},
};
use serde_json::json;
use slipway_crds::GROUP;

use crate::{FieldManager, by_hand, scaled};

/// Kubernetes' label with the name of an EndpointSlice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Most bytes of an Event's message that are kept.
const SAID: usize = 4096;
/// Most owners of an object that are kept.
const OWNERS: usize = 8;

/// Keeps the number of replicas, who set it, and the status without conditions.
pub fn deployment(deployment: &mut Deployment) {
    meta(&mut deployment.metadata);
    deployment.spec = deployment.spec.take().map(|spec| DeploymentSpec {
        replicas: spec.replicas,
        ..DeploymentSpec::default()
    });
    if let Some(status) = &mut deployment.status {
        status.conditions = None;
    }
}

/// Keeps name, labels and owners.
pub fn account(account: &mut ServiceAccount) {
    let mut kept = std::mem::take(&mut account.metadata);
    meta(&mut kept);
    *account = ServiceAccount {
        metadata: kept,
        ..ServiceAccount::default()
    };
}

/// Keeps name, labels and owners of an object whose metadata alone was read.
pub fn named(of: &mut ObjectMeta) {
    meta(of);
    of.managed_fields = None;
}

/// Keeps name, labels and owners.
pub fn service(service: &mut Service) {
    meta(&mut service.metadata);
    service.spec = None;
    service.status = None;
}

/// Keeps the spec, which has the size.
pub fn claim(claim: &mut PersistentVolumeClaim) {
    meta(&mut claim.metadata);
    claim.status = None;
}

/// Keeps the status, and the containers' resources.
pub fn pod(pod: &mut Pod) {
    meta(&mut pod.metadata);
    pod.metadata.managed_fields = None;
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

/// Cuts the message to [`SAID`] bytes.
pub fn event(event: &mut Event) {
    meta(&mut event.metadata);
    if let Some(message) = &mut event.message {
        message.truncate(message.floor_char_boundary(SAID));
    }
}

/// Removes annotations, finalizers, all labels but Slipway's and `app.kubernetes.io/…`, owners after the first
/// [`OWNERS`], and from `managedFields` all fields but the number of replicas.
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

/// Keeps only the `managedFields` about the number of replicas; all of them, if somebody set fields by hand that the
/// Release controller has to take over.
pub fn books(meta: &mut ObjectMeta) {
    let Some(entries) = &mut meta.managed_fields else {
        return;
    };
    if by_hand::taken_over(entries, FieldManager::Release).is_some() {
        return;
    }
    let mut is_first = true;
    entries.retain_mut(|entry| {
        let has = scaled::has_number(entry);
        *entry = number(std::mem::take(entry));
        // One entry stays in any case: an empty list means that the API server recorded no managers.
        std::mem::take(&mut is_first) || has
    });
}

/// Keeps the numbers of replicas, and what `desired::rendered` reads of the pod template.
pub fn rendered(set: &mut ReplicaSet) {
    meta(&mut set.metadata);
    set.metadata.managed_fields = None;
    let container = |container: Container| Container {
        name: container.name,
        image: container.image,
        lifecycle: container.lifecycle,
        ..Container::default()
    };
    let pod = |spec: PodSpec| PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec
            .init_containers
            .map(|all| all.into_iter().map(container).collect()),
        image_pull_secrets: spec.image_pull_secrets,
        ..PodSpec::default()
    };
    set.spec = set.spec.take().map(|spec| ReplicaSetSpec {
        replicas: spec.replicas,
        template: spec.template.map(|template| PodTemplateSpec {
            metadata: None,
            spec: template.spec.map(pod),
        }),
        ..ReplicaSetSpec::default()
    });
    if let Some(status) = &mut set.status {
        status.conditions = None;
    }
}

/// Keeps the Service's name, and each endpoint's pod and conditions.
pub fn slice(slice: &mut EndpointSlice) {
    let service = slice
        .metadata
        .labels
        .as_mut()
        .and_then(|l| l.remove_entry(SERVICE_NAME));
    meta(&mut slice.metadata);
    slice.metadata.managed_fields = None;
    slice
        .metadata
        .labels
        .get_or_insert_default()
        .extend(service);
    slice.ports = None;
    for endpoint in &mut slice.endpoints {
        *endpoint = Endpoint {
            conditions: endpoint.conditions.take(),
            target_ref: endpoint.target_ref.take(),
            ..Endpoint::default()
        };
    }
}

/// Removes all fields but the number of replicas.
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
