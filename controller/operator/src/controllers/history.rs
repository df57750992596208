//! All records of an App, as they are cached → those that count; and the few of them that are needed whole. A record
//! may have more than a megabyte, an App may have hundreds, and anybody who may create records can make any number that
//! do not count. So records that are large, or over, are cached in brief.

use std::collections::BTreeSet;

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{Api, Client, Resource, ResourceExt as _, core::DeserializeGuard};
use slipway_crds::{
    conditions::types,
    labels,
    v1alpha1::{
        Build, BuildSpec, BuildStatus, Release, ReleaseFailure, ReleaseProcess, ReleaseSpec,
        ReleaseStatus, Revision,
    },
};

use slipway_core::{
    decide::build,
    records::{Owner, Record, Sorted},
};
use slipway_k8s::{
    cache::{Cache, Cached},
    classify, pages,
};

/// A record that may be kept in brief.
pub trait Brief:
    Record + Cached + Resource<DynamicType = (), Scope = NamespaceResourceScope>
{
    /// Removes fields that may be large and are needed of a few records only. A record that is to be written is read
    /// whole first.
    fn brief(&mut self);
}

impl Brief for Revision {
    fn brief(&mut self) {
        short(&mut self.metadata);
    }
}

impl Brief for Build {
    fn brief(&mut self) {
        short(&mut self.metadata);
        let spec = std::mem::take(&mut self.spec);
        self.spec = BuildSpec {
            app: spec.app,
            revision: spec.revision,
            revision_number: spec.revision_number,
            inputs: spec.inputs,
            attempt: spec.attempt,
            source: spec.source,
            env: vec![build::in_brief(&spec.env)],
            timeout: spec.timeout,
            request: spec.request,
            ..BuildSpec::default()
        };
        self.status = self.status.take().map(|status| BuildStatus {
            conditions: ready(status.conditions),
            phase: status.phase,
            started_at: status.started_at,
            finished_at: status.finished_at,
            log: status.log,
            ..BuildStatus::default()
        });
    }
}

impl Brief for Release {
    fn brief(&mut self) {
        short(&mut self.metadata);
        let spec = std::mem::take(&mut self.spec);
        let number = |process: ReleaseProcess| ReleaseProcess {
            replicas: process.replicas,
            ..ReleaseProcess::default()
        };
        let processes = spec.processes.into_iter();
        // Fields that are not named here say nothing about the Release's state.
        self.spec = ReleaseSpec {
            app: spec.app,
            number: spec.number,
            inputs: spec.inputs,
            renderer: spec.renderer,
            revision: spec.revision,
            revision_id: spec.revision_id,
            build: spec.build,
            image: spec.image,
            config_secret: spec.config_secret,
            processes: processes.map(|(name, p)| (name, number(p))).collect(),
            port: spec.port,
            deadlines: spec.deadlines,
            pod_security: spec.pod_security,
            site: spec.site,
            ..ReleaseSpec::default()
        };
        self.status = self.status.take().map(|status| ReleaseStatus {
            conditions: ready(status.conditions),
            failure: status.failure.map(|failure| ReleaseFailure {
                reason: failure.reason,
                ..ReleaseFailure::default()
            }),
            ..status
        });
    }
}

/// Annotations of Builds that decisions read, and the most bytes kept of one: anybody who may cancel a Build may write
/// more.
const KEPT: [&str; 3] = [labels::BUILD_ENV, labels::BUILD_RETRIES, labels::CANCEL];
const ANNOTATION: usize = 128;

/// Keeps what identifies an object, and when it was made.
fn short(meta: &mut ObjectMeta) {
    let whole = std::mem::take(meta);
    let annotations = whole.annotations.map(|mut annotations| {
        annotations
            .retain(|name, value| KEPT.contains(&name.as_str()) && value.len() <= ANNOTATION);
        annotations
    });
    *meta = ObjectMeta {
        annotations,
        creation_timestamp: whole.creation_timestamp,
        deletion_timestamp: whole.deletion_timestamp,
        generation: whole.generation,
        labels: None,
        name: whole.name,
        namespace: whole.namespace,
        owner_references: whole.owner_references,
        resource_version: whole.resource_version,
        uid: whole.uid,
        ..ObjectMeta::default()
    };
}

/// Keeps the state without the message.
fn ready(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.retain(|condition| condition.type_ == types::READY);
    for condition in &mut conditions {
        condition.message = String::new();
    }
    conditions
}

/// The records of one kind, as the cache has them.
pub fn list<K: Brief>(cache: &Cache<K>, owner: Owner<'_>) -> Sorted<K> {
    let mut all = Sorted::default();
    for kept in cache.of_app(owner.namespace, owner.name) {
        let name = kept.object.name_any();
        let found = owner.sort([kept.object]);
        if !kept.whole && !found.records.is_empty() {
            all.partial.insert(name);
        }
        all.add(found);
    }
    all
}

/// Reads whole those of `records` that are picked and kept in brief. One that was deleted meanwhile is removed, and the
/// pick is repeated until all picked records are whole.
pub async fn complete<K: Brief>(
    client: &Client,
    owner: Owner<'_>,
    found: &mut Sorted<K>,
    pick: impl Fn(&[K]) -> BTreeSet<String>,
) -> Result<(), kube::Error> {
    let Sorted {
        records, partial, ..
    } = found;
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), owner.namespace);
    loop {
        let due: Vec<String> = pick(records).intersection(partial).cloned().collect();
        if due.is_empty() {
            return Ok(());
        }
        for name in due {
            let _turn = pages::turn().await;
            let live = classify::found(api.get(&name).await)?;
            let is_it = |record: &K| record.name_any() == name;
            match owner.sort(live).records.pop() {
                Some(live) => {
                    if let Some(record) = records.iter_mut().find(|record| is_it(record)) {
                        *record = live;
                    }
                }
                None => records.retain(|record| !is_it(record)),
            }
            partial.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{complete, list};
    use crate::controllers::caches::Caches;
    use kube::ResourceExt as _;
    use serde_json::json;
    use slipway_core::{domain::repository::Repositories, records::Owner};
    use slipway_crds::{labels, v1alpha1::Build};
    use slipway_support::fake_api::Fake;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn of_many_big_records_few_are_in_memory() {
        let fake = Fake::default();
        let artifact = json!({"repository": "slipway/slipway.dev/s", "digest": format!("sha256:{}", "0".repeat(64))});
        let env: Vec<_> = (0..8)
            .map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(20_000)}))
            .collect();
        for number in 0..20 {
            let name = format!("hello-{number:02}");
            let build = json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "Build",
                "metadata": {"name": name, "namespace": "team", "uid": name, "annotations": {"note": "x".repeat(20_000),
                        "slipway.dev/build-env": "x".repeat(20_000), "slipway.dev/build-retries": "6", "slipway.dev/cancel": "true"},
                    "ownerReferences": [{"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "u", "controller": true}]},
                "spec": {"app": {"name": "hello", "uid": "u"}, "revision": "r", "cause": "c", "timeout": "30m", "env": env,
                    "source": {"git": {"url": "https://x/y.git", "commit": "0".repeat(40)}},
                    "stack": {"name": "s", "stackName": "s", "buildImage": artifact, "runImage": artifact, "userId": 1}},
                "status": {"phase": "Failed", "appJson": "x".repeat(10_000), "processes": {"web": "x".repeat(8_000)}},
            });
            let path = format!("/apis/slipway.dev/v1alpha1/namespaces/team/builds/{name}");
            fake.put(&path, build);
        }
        let repositories = Repositories::new("slipway", []);
        let owner = Owner {
            namespace: "team",
            name: "hello",
            uid: "u",
            repositories: &repositories,
        };
        let client = fake.client();
        let caches = Caches::default();
        caches.read(&client).await;
        let mut found = list(&caches.builds, owner);
        let size = |builds: &[Build]| serde_json::to_vec(builds).unwrap().len();
        let names =
            |builds: &[Build]| -> Vec<String> { builds.iter().map(Build::name_any).collect() };
        let (all, brief) = (names(&found.records), size(&found.records));
        assert_eq!(all.len(), 20);
        assert!(brief < 20 * 1024, "{brief} bytes");
        let kept = [labels::BUILD_RETRIES, labels::CANCEL];
        let mut builds = found.records.iter();
        assert!(builds.all(|b| b.annotations().keys().eq(kept)));

        // The record is deleted before it is read whole: the next one is picked in its place.
        let gone = found.records[0].name_any();
        fake.remove(&format!(
            "/apis/slipway.dev/v1alpha1/namespaces/team/builds/{gone}"
        ));
        let first = |builds: &[Build]| BTreeSet::from([builds[0].name_any(), "none".to_owned()]);
        complete(&client, owner, &mut found, first).await.unwrap();
        assert_eq!(names(&found.records), all[1..], "{gone}");
        assert_eq!(found.records[0].spec.env.len(), 8);
        assert!(size(&found.records) < 250_000 + brief);
    }
}
