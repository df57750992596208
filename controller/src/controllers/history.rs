//! All records of an App, as the API server has them → what tells them apart and how they stand; and the few of them
//! that are asked for whole. Each may have more than a megabyte, an App may have hundreds, and anybody who may create
//! some can make any number that do not count.

use std::{collections::BTreeSet, fmt::Debug};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use kube::{Api, Client, Resource, ResourceExt as _, api::ListParams, core::DeserializeGuard};
use serde::de::DeserializeOwned;
use slipway_crds::{
    conditions::types,
    labels,
    v1alpha1::{
        Build, BuildSpec, BuildStatus, Release, ReleaseFailure, ReleaseProcess, ReleaseSpec,
        ReleaseStatus, Revision,
    },
};

use crate::{
    controllers::records::{Owner, Record, Sorted},
    decide::build,
    k8s::{classify::found, pages},
};

/// A record that may be kept in brief.
pub trait Brief:
    Record + Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug + Send
{
    /// Takes out what may be big and is only asked for of few. What is written anew is read whole before.
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
        self.spec = ReleaseSpec {
            cause: String::new(),
            processes: processes.map(|(name, p)| (name, number(p))).collect(),
            volumes: Vec::new(),
            ..spec
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

/// Annotations of Builds that decide something, and most bytes of one: anybody who may cancel may write more.
const KEPT: [&str; 3] = [labels::BUILD_ENV, labels::BUILD_RETRIES, labels::CANCEL];
const ANNOTATION: usize = 128;

/// What tells an object from others, and when it was made.
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
        generation: whole.generation,
        name: whole.name,
        namespace: whole.namespace,
        resource_version: whole.resource_version,
        uid: whole.uid,
        ..ObjectMeta::default()
    };
}

/// How it stands, without the words.
fn ready(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.retain(|condition| condition.type_ == types::READY);
    for condition in &mut conditions {
        condition.message = String::new();
    }
    conditions
}

/// What is found of a kind, in brief.
pub async fn list<K: Brief>(
    client: &Client,
    owner: Owner<'_>,
    which: ListParams,
) -> Result<Sorted<K>, kube::Error> {
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), owner.namespace);
    let mut all = Sorted::default();
    pages::each(&api, which, |object| {
        let mut found = owner.sort([object]);
        found.records.iter_mut().for_each(Brief::brief);
        all.add(found);
    })
    .await?;
    Ok(all)
}

/// Makes those of `records` whole that are picked: what has gone meanwhile is taken out, and then it is picked once more,
/// until all of them are whole.
pub async fn complete<K: Brief>(
    client: &Client,
    owner: Owner<'_>,
    records: &mut Vec<K>,
    pick: impl Fn(&[K]) -> BTreeSet<String>,
) -> Result<(), kube::Error> {
    let mut whole = BTreeSet::new();
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), owner.namespace);
    loop {
        let picked = pick(records);
        let is_due = |name: &String| picked.contains(name) && !whole.contains(name);
        let due: Vec<String> = records.iter().map(K::name_any).filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        for name in due {
            let _turn = pages::turn().await;
            let live = found(api.get(&name).await)?;
            let is_it = |record: &K| record.name_any() == name;
            match owner.sort(live).records.pop() {
                Some(live) => {
                    if let Some(record) = records.iter_mut().find(|record| is_it(record)) {
                        *record = live;
                    }
                }
                None => records.retain(|record| !is_it(record)),
            }
            whole.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{complete, list};
    use crate::{controllers::records::Owner, domain::repository::Repositories, k8s::fake::Fake};
    use kube::{ResourceExt as _, api::ListParams};
    use serde_json::json;
    use slipway_crds::{labels, v1alpha1::Build};
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
        let of_app = ListParams::default();
        let mut builds = list::<Build>(&client, owner, of_app).await.unwrap().records;
        let size = |builds: &[Build]| serde_json::to_vec(builds).unwrap().len();
        let names =
            |builds: &[Build]| -> Vec<String> { builds.iter().map(Build::name_any).collect() };
        let (all, brief) = (names(&builds), size(&builds));
        assert_eq!(all.len(), 20);
        assert!(brief < 20 * 1024, "{brief} bytes");
        let kept = [labels::BUILD_RETRIES, labels::CANCEL];
        assert!(builds.iter().all(|b| b.annotations().keys().eq(kept)));

        // One goes before it is read whole: the next one is picked in its place.
        let gone = builds[0].name_any();
        builds[0].metadata.name = Some("gone".to_owned());
        let first = |builds: &[Build]| BTreeSet::from([builds[0].name_any(), "none".to_owned()]);
        complete(&client, owner, &mut builds, first).await.unwrap();
        assert_eq!(names(&builds), all[1..], "{gone}");
        assert_eq!(builds[0].spec.env.len(), 8);
        assert!(size(&builds) < 250_000 + brief);
    }
}
