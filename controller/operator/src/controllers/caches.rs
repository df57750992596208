//! What the controllers know of the cluster without a request: one cache for each kind, shared by all of them.
//!
//! Apps and records are kept with everything that decisions read, objects that Kubernetes' own controllers manage with
//! their state, and config Secrets with their names only: no cache has a Secret's content.

use std::collections::{BTreeMap, BTreeSet};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource, core::PartialObjectMeta};
use slipway_crds::{
    labels,
    v1alpha1::{App, Build, BuildPhase, Process, Release, ReleasePhase, Revision},
};

use crate::controllers::{
    history::Brief,
    watches::{keep_no_values, keep_requests},
};
use slipway_core::{
    domain::references::{self, Kind},
    records,
};
use slipway_k8s::{
    FieldManager, brief,
    cache::{Cache, Cached, Codec, Rules, reference},
};

/// All caches.
#[derive(Clone)]
pub struct Caches {
    /// Apps. Those that are too large are kept without values of variables and without status.
    pub apps: Cache<App>,
    /// Revisions.
    pub revisions: Cache<Revision>,
    /// Builds.
    pub builds: Cache<Build>,
    /// Releases.
    pub releases: Cache<Release>,
    /// Deployments of Apps.
    pub deployments: Cache<Deployment>,
    /// Their ReplicaSets.
    pub replica_sets: Cache<ReplicaSet>,
    /// Their pods.
    pub pods: Cache<Pod>,
    /// Services of Apps.
    pub services: Cache<Service>,
    /// EndpointSlices of those Services.
    pub slices: Cache<EndpointSlice>,
    /// ServiceAccounts of Apps.
    pub service_accounts: Cache<ServiceAccount>,
    /// Claims of Apps.
    pub claims: Cache<PersistentVolumeClaim>,
    /// Config Secrets of Apps, by their metadata.
    pub secrets: Cache<PartialObjectMeta<Secret>>,
    /// Metadata of other Secrets, which Apps may refer to. They are found by name.
    pub others: Cache<PartialObjectMeta<Secret>>,
}

impl Default for Caches {
    fn default() -> Self {
        let codec = Codec::default();
        Self {
            apps: Cache::new(apps(), &codec),
            revisions: Cache::new(records(), &codec),
            builds: Cache::new(builds(), &codec),
            releases: Cache::new(releases(), &codec),
            deployments: Cache::new(deployments(), &codec),
            replica_sets: Cache::new(replica_sets(), &codec),
            pods: Cache::new(pods(), &codec),
            services: Cache::new(services(), &codec),
            slices: Cache::new(slices(), &codec),
            service_accounts: Cache::new(service_accounts(), &codec),
            claims: Cache::new(claims(), &codec),
            secrets: Cache::new(secrets(), &codec),
            others: Cache::new(others(), &codec),
        }
    }
}

/// A cache of any kind.
trait Filled: Sync {
    /// Keeps the cache as the API server has the objects in these namespaces, or in all, until dropped.
    fn fill<'a>(&'a self, client: &'a Client, namespaces: &'a [String]) -> BoxFuture<'a, ()>;

    /// Waits until it is filled.
    fn is_full(&self) -> BoxFuture<'_, ()>;

    /// How many bytes are kept, without the index.
    #[cfg(test)]
    fn bytes(&self) -> usize;

    /// Reads once what exists.
    #[cfg(test)]
    fn read<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, ()>;
}

impl<K> Filled for Cache<K>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    fn fill<'a>(&'a self, client: &'a Client, namespaces: &'a [String]) -> BoxFuture<'a, ()> {
        self.expect(namespaces.len().max(1));
        if namespaces.is_empty() {
            return Cache::fill(self, Api::all(client.clone()), None).boxed();
        }
        let each = namespaces.iter().map(|namespace| {
            let api = Api::namespaced(client.clone(), namespace);
            Cache::fill(self, api, Some(namespace.as_str()))
        });
        join_all(each).map(|_| ()).boxed()
    }

    fn is_full(&self) -> BoxFuture<'_, ()> {
        Cache::is_full(self).boxed()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        Cache::bytes(self)
    }

    #[cfg(test)]
    fn read<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, ()> {
        let read = async {
            let api = Api::all(client.clone());
            self.list(&api, None).await.unwrap();
        };
        read.boxed()
    }
}

impl Caches {
    /// Every cache.
    fn each(&self) -> [&dyn Filled; 13] {
        let Self {
            apps,
            revisions,
            builds,
            releases,
            deployments,
            replica_sets,
            pods,
            services,
            slices,
            service_accounts,
            claims,
            secrets,
            others,
        } = self;
        [
            apps,
            revisions,
            builds,
            releases,
            deployments,
            replica_sets,
            pods,
            services,
            slices,
            service_accounts,
            claims,
            secrets,
            others,
        ]
    }

    /// Keeps all caches as the API server has the objects in these namespaces, or in all, until dropped.
    pub async fn fill(&self, client: &Client, namespaces: &[String]) {
        join_all(self.each().map(|cache| cache.fill(client, namespaces))).await;
    }

    /// Waits until they are filled. Before that, nothing is decided.
    pub async fn are_full(&self) {
        join_all(self.each().map(Filled::is_full)).await;
    }

    /// How many bytes all caches keep, without their indexes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.each().map(Filled::bytes).iter().sum()
    }

    /// Reads once what exists.
    #[cfg(test)]
    pub(crate) async fn read(&self, client: &Client) {
        for cache in self.each() {
            cache.read(client).await;
        }
    }
}

fn apps() -> Rules<App> {
    Rules {
        selector: None,
        app: |meta, _| meta.name.clone(),
        trim: |app| {
            app.metadata.managed_fields = None;
            keep_requests(&mut app.metadata);
        },
        is_brief: |_| false,
        brief: keep_what_runs,
        judge: None,
        refers: named,
    }
}

/// The Secrets and ConfigMaps that an App names, and its Stack, with an empty name if it is the default.
fn named(app: &App) -> Vec<String> {
    let named = references::of_spec(&app.spec).into_iter();
    let named = named.map(|named| match named.kind {
        Kind::Secret => reference("Secret", named.name),
        Kind::ConfigMap => reference("ConfigMap", named.name),
    });
    let stack = app.spec.source.is_built().then(|| {
        let build = app.spec.build.as_ref();
        let stack = build.and_then(|build| build.stack.as_deref());
        reference("Stack", stack.unwrap_or_default())
    });
    let all: BTreeSet<String> = named.chain(stack).collect();
    all.into_iter().collect()
}

/// Keeps replicas, volumes and the variables that come from Secrets: everything else that objects are made from is in
/// the Release.
fn keep_what_runs(app: &mut App) {
    keep_no_values(app);
    let spec = &mut app.spec;
    spec.build = None;
    spec.checks = BTreeMap::new();
    for process in spec.processes.values_mut() {
        *process = Process {
            replicas: process.replicas,
            ..Process::default()
        };
    }
}

/// Rules for records: all that belong to an App, whatever their labels say.
fn records<K: Brief>() -> Rules<K> {
    Rules {
        selector: None,
        app: |meta, record| {
            let named = record.map(|record: &K| record.app().name.clone());
            named.or_else(|| of_owner(meta))
        },
        trim: |record| {
            let meta = record.meta_mut();
            meta.managed_fields = None;
            // Their spec says which App they belong to.
            meta.labels = None;
        },
        is_brief: |_| false,
        brief: Brief::brief,
        judge: None,
        refers: |_| Vec::new(),
    }
}

/// Rules for what the operator makes besides records, and what Kubernetes' controllers make from that.
fn children<K>(trim: fn(&mut K), brief: fn(&mut K)) -> Rules<K> {
    Rules {
        selector: Some(format!("{}={}", labels::MANAGED_BY, labels::SLIPWAY)),
        app: |meta, _| of_owner(meta).or_else(|| meta.labels.as_ref()?.get(labels::APP).cloned()),
        trim,
        is_brief: |_| false,
        brief,
        judge: None,
        refers: |_| Vec::new(),
    }
}

fn builds() -> Rules<Build> {
    Rules {
        is_brief: is_old_build,
        ..records()
    }
}

fn releases() -> Rules<Release> {
    Rules {
        is_brief: is_old_release,
        judge: Some(FieldManager::Release),
        ..records()
    }
}

fn deployments() -> Rules<Deployment> {
    let trim = |deployment: &mut Deployment| brief::books(&mut deployment.metadata);
    children(trim, brief::deployment)
}

fn replica_sets() -> Rules<ReplicaSet> {
    children(brief::rendered, |set| set.spec = None)
}

fn pods() -> Rules<Pod> {
    children(brief::pod, |pod| pod.spec = None)
}

fn services() -> Rules<Service> {
    let trim = |service: &mut Service| brief::books(&mut service.metadata);
    children(trim, brief::service)
}

fn slices() -> Rules<EndpointSlice> {
    children(brief::slice, |slice| slice.endpoints = Vec::new())
}

fn service_accounts() -> Rules<ServiceAccount> {
    let trim = |account: &mut ServiceAccount| brief::books(&mut account.metadata);
    children(trim, brief::account)
}

fn claims() -> Rules<PersistentVolumeClaim> {
    let trim = |claim: &mut PersistentVolumeClaim| brief::books(&mut claim.metadata);
    children(trim, brief::claim)
}

/// By their metadata.
fn secrets() -> Rules<PartialObjectMeta<Secret>> {
    let named = |secret: &mut PartialObjectMeta<Secret>| brief::named(&mut secret.metadata);
    children(named, named)
}

fn others() -> Rules<PartialObjectMeta<Secret>> {
    Rules {
        selector: Some(format!("{}!={}", labels::MANAGED_BY, labels::SLIPWAY)),
        app: |meta, _| meta.name.clone(),
        trim: |secret| {
            brief::named(&mut secret.metadata);
            secret.metadata.labels = None;
            secret.metadata.owner_references = None;
        },
        is_brief: |_| false,
        brief: |_| {},
        judge: None,
        refers: |_| Vec::new(),
    }
}

fn of_owner(meta: &ObjectMeta) -> Option<String> {
    records::owner(meta).map(|(name, _)| name.to_owned())
}

/// Whether a Build ended without an image: then only its state is needed.
fn is_old_build(build: &Build) -> bool {
    let phase = build.status.as_ref().map(|s| s.phase);
    matches!(phase, Some(BuildPhase::Failed | BuildPhase::Cancelled))
}

/// Whether a Release was superseded: it does not run any more, unless the App goes back to it.
fn is_old_release(release: &Release) -> bool {
    let phase = release.status.as_ref().map(|s| s.phase);
    phase == Some(ReleasePhase::Superseded)
}

#[cfg(test)]
mod tests {
    use super::{keep_what_runs, named};
    use serde_json::json;
    use slipway_crds::v1alpha1::App;

    #[test]
    fn of_an_app_that_is_large_there_is_what_its_releases_leave_open_and_no_more() {
        let long = "x".repeat(100_000);
        let mut app: App = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "hello", "annotations": {"a": long}},
            "spec": {
                "source": {"image": {"reference": "i"}}, "suspend": true,
                "build": {"env": [{"name": "A", "value": long}]},
                "env": [
                    {"name": "B", "value": long},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                ],
                "processes": {"web": {"command": long, "replicas": 3}},
                "storage": [{"name": "data", "mountPath": "/data", "claimTemplate": {"size": "1Gi"}}],
            },
            "status": {"conditions": [], "notes": [long]},
        }))
        .unwrap();
        keep_what_runs(&mut app);
        let text = serde_json::to_string(&app).unwrap();
        assert!(text.len() < 1_000, "{} bytes", text.len());
        for kept in [
            "secretKeyRef",
            r#""web":{"replicas":3}"#,
            "1Gi",
            r#""suspend":true"#,
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }

    #[test]
    fn what_an_app_names_is_found_by_it() {
        let key = |from: &str, name: &str| json!({"name": name, "valueFrom": {from: {"name": name, "key": "k"}}});
        let app: App = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello"},
            "spec": {
                "source": {"git": {"url": "https://example.com/a.git", "secretRef": {"name": "login"}}},
                "build": {"env": [key("secretKeyRef", "build")]},
                "env": [key("configMapKeyRef", "map"), key("secretKeyRef", "login")],
                "envFrom": [{"secretRef": {"name": "whole"}}],
            },
        }))
        .unwrap();
        let wanted = [
            "ConfigMap/map",
            "Secret/build",
            "Secret/login",
            "Secret/whole",
            "Stack/",
        ];
        assert_eq!(named(&app), wanted);
    }
}
