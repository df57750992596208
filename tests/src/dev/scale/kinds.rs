//! The objects that are watched, without types, because an older operator's statuses may differ from ours.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::cluster::Cluster;

pub(super) fn apps(cluster: &Cluster) -> Api<DynamicObject> {
    Api::all_with(cluster.client.clone(), &app())
}

pub(super) fn apps_in(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), namespace, &app())
}

pub(super) fn deployments(cluster: &Cluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let resource = ApiResource::from_gvk_with_plural(&kind, "deployments");
    Api::all_with(cluster.client.clone(), &resource)
}

fn app() -> ApiResource {
    let kind = GroupVersionKind::gvk(slipway_crds::GROUP, "v1alpha1", "App");
    ApiResource::from_gvk_with_plural(&kind, "apps")
}
