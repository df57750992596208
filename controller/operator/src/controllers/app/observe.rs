//! App → everything that its next step depends on: from the caches and, where a cache does not hold it, from the API
//! server. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Secret, Service},
};
use kube::{Api, Client, ResourceExt as _, core::DeserializeGuard};
use slipway_crds::{
    names,
    v1alpha1::{App, Build, Quantity, Release, Revision, Stack},
};

use crate::controllers::{
    app::{
        config::snapshot,
        read::{ReadError, reading},
        referred::{self, Referred},
    },
    caches::Caches,
    history,
};
use slipway_core::{
    decide::release,
    domain::{
        app::ValidApp,
        env::{Config, HashKey},
        repository::Repositories,
    },
    draft::config_secret,
    records::{Owner, unreadable},
};
use slipway_k8s::{classify::found, ownership::owned_by};

/// What is known of claims that an App's storage names, or that were made for the App.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// Names of claims that many nodes may mount at once, and that were not made for the App.
    pub shared: BTreeSet<String>,
    /// Sizes of claims that were made for the App, by entry.
    pub sizes: BTreeMap<String, Quantity>,
}

/// All that exists of an App.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// Its Revisions.
    pub revisions: Vec<Revision>,
    /// Its Builds.
    pub builds: Vec<Build>,
    /// Names of Builds of which only the state is known.
    pub partial_builds: BTreeSet<String>,
    /// Its Releases, the newest, the one that is to run, and the one that serves whole.
    pub releases: Vec<Release>,
    /// Its Deployments.
    pub deployments: Vec<Deployment>,
    /// Secrets with its config snapshots, without what is in them.
    pub config_secrets: Vec<Secret>,
    /// The config of the newest Release, by name of the Secret; only if the next Release will have another config.
    pub configs: BTreeMap<String, Config>,
    /// Its Service.
    pub service: Option<Service>,
    /// The Stack of its builds.
    pub stack: Option<Stack>,
    /// Why the Stack cannot be read.
    pub unreadable_stack: Option<String>,
    /// Records with the App's label that do not count, and why.
    pub strange: Vec<String>,
    /// Releases of the App that cannot be read, and why. It is then unknown which one serves and which comes next.
    pub unreadable_releases: Vec<String>,
    /// What else cannot be read, and why.
    pub unreadable: Vec<String>,
    /// What its references lead to.
    pub referred: Referred,
    /// Its claims.
    pub claims: Claims,
}

impl Observed {
    /// Whether the config snapshot of this name exists.
    pub(super) fn has_config(&self, name: &str) -> bool {
        let mut secrets = self.config_secrets.iter();
        secrets.any(|secret| secret.metadata.name.as_deref() == Some(name))
    }
}

/// Reads everything. For an App that is not valid, reads its objects but nothing that it refers to.
pub(super) async fn observe(
    client: &Client,
    caches: &Caches,
    app: &App,
    valid: Option<&ValidApp>,
    key: &HashKey,
    repositories: &Repositories,
) -> Result<Observed, ReadError> {
    let namespace = app.namespace().unwrap_or_default();
    let name = app.name_any();
    let uid = app.uid().unwrap_or_default();
    let owner = Owner {
        namespace: &namespace,
        name: &name,
        uid: &uid,
        repositories,
    };
    let revisions = history::list(&caches.revisions, owner);
    let builds = history::list(&caches.builds, owner);
    let mut releases = history::list(&caches.releases, owner);
    let service = caches.services.get(&namespace, &names::service(&name));
    let service = service.and_then(|kept| kept.object.0.ok());
    let (stack, referred, claims) = futures::try_join!(
        stack(client, valid),
        referred::read(client, caches, &namespace, valid),
        claims(client, caches, &namespace, app),
    )?;
    history::complete(client, owner, &mut releases, read_whole)
        .await
        .map_err(reading("Releases"))?;
    let newest = release::newest(&releases.records);
    let configs = config_before(client, &namespace, valid, key, &referred, newest).await?;
    let (stack, unreadable_stack) = stack;
    let mut strange = revisions.strange;
    strange.extend(builds.strange);
    strange.extend(releases.strange);
    let mut unreadable = revisions.unreadable;
    unreadable.extend(builds.unreadable);
    Ok(Observed {
        revisions: revisions.records,
        builds: builds.records,
        partial_builds: builds.partial,
        releases: releases.records,
        unreadable_stack,
        strange,
        unreadable_releases: releases.unreadable,
        unreadable,
        deployments: deployments(caches, &namespace, &name, &uid),
        config_secrets: config_secrets(caches, &namespace, &name, &uid),
        configs,
        service: service.filter(|service| owned_by(service, &uid)),
        stack,
        referred,
        claims,
    })
}

/// Names of the Releases that a plan reads completely: the newest, the one that is to run, and the one that serves.
fn read_whole(releases: &[Release]) -> BTreeSet<String> {
    let newest = release::newest(releases).into_iter();
    let others = release::target(releases)
        .into_iter()
        .chain(release::serving(releases));
    newest.chain(others).map(Release::name_any).collect()
}

/// Config Secrets of an App, without their content.
fn config_secrets(caches: &Caches, namespace: &str, app: &str, uid: &str) -> Vec<Secret> {
    let prefix = names::config_secret(app, "");
    let secrets = caches.secrets.objects(namespace, app).into_iter();
    let ours = secrets.filter(|secret| {
        owned_by(secret, uid)
            && secret.metadata.deletion_timestamp.is_none()
            && secret.name_any().starts_with(&prefix)
    });
    ours.map(|secret| Secret {
        metadata: secret.metadata,
        ..Secret::default()
    })
    .collect()
}

/// The config of the newest Release, by name of its Secret, if the App's config differs from it now: the content is
/// read only then, to report what changed.
async fn config_before(
    client: &Client,
    namespace: &str,
    valid: Option<&ValidApp>,
    key: &HashKey,
    referred: &Referred,
    newest: Option<&Release>,
) -> Result<BTreeMap<String, Config>, ReadError> {
    let (Some(app), Some(newest)) = (valid, newest) else {
        return Ok(BTreeMap::new());
    };
    let name = &newest.spec.config_secret;
    // Without a config there is no Release.
    let Ok(now) = snapshot(app, referred) else {
        return Ok(BTreeMap::new());
    };
    if *name == config_secret(app, &now.config, key) {
        return Ok(BTreeMap::new());
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let before = found(secrets.get(name).await).map_err(reading("Secrets"))?;
    let before = before.filter(|secret| owned_by(secret, &app.uid));
    Ok(before
        .into_iter()
        .map(|secret| {
            let data = secret.data.unwrap_or_default();
            let values = data.into_iter().map(|(key, value)| (key, value.0));
            (name.clone(), Config::stored(values))
        })
        .collect())
}

/// Claims that others made are read from the API server: no watch covers them.
async fn claims(
    client: &Client,
    caches: &Caches,
    namespace: &str,
    app: &App,
) -> Result<Claims, ReadError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let mut claims = Claims::default();
    for storage in &app.spec.storage {
        let (name, own) = match (&storage.claim, &storage.claim_template) {
            (Some(claim), _) => (claim.name.clone(), false),
            (None, Some(_)) => (names::claim(&app.name_any(), &storage.name), true),
            (None, None) => continue,
        };
        let known = caches
            .claims
            .get(namespace, &name)
            .filter(|kept| kept.whole);
        let claim = match known.and_then(|kept| kept.object.0.ok()) {
            Some(claim) => Some(claim),
            None => found(api.get(&name).await).map_err(reading("claims"))?,
        };
        let Some(spec) = claim.and_then(|claim| claim.spec) else {
            continue;
        };
        let mut modes = spec.access_modes.iter().flatten();
        if own {
            let requests = spec.resources.and_then(|resources| resources.requests);
            let size = requests.and_then(|mut requests| requests.remove("storage"));
            claims
                .sizes
                .extend(size.map(|size| (storage.name.clone(), Quantity(size.0))));
        } else if modes.any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany") {
            claims.shared.insert(name);
        }
    }
    Ok(claims)
}

/// The App's Deployments: how many pods each process runs, and who scales it.
fn deployments(caches: &Caches, namespace: &str, app: &str, uid: &str) -> Vec<Deployment> {
    let mut ours = caches.deployments.objects(namespace, app);
    ours.retain(|deployment| {
        owned_by(deployment, uid) && deployment.metadata.deletion_timestamp.is_none()
    });
    ours
}

/// The Stack of the App's builds, or why it cannot be read.
async fn stack(
    client: &Client,
    valid: Option<&ValidApp>,
) -> Result<(Option<Stack>, Option<String>), ReadError> {
    let Some(app) = valid.filter(|app| app.source.is_built()) else {
        return Ok((None, None));
    };
    let name = &app.build.stack;
    let stacks: Api<DeserializeGuard<Stack>> = Api::all(client.clone());
    Ok(
        match found(stacks.get(name).await).map_err(reading("Stack"))? {
            None => (None, None),
            Some(DeserializeGuard(Ok(stack))) => (Some(stack), None),
            Some(DeserializeGuard(Err(invalid))) => {
                (None, Some(unreadable("Stack", name, &invalid.error)))
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{Observed, observe};
    use crate::controllers::{app::config::snapshot, caches::Caches};
    use serde_json::{Value, json};
    use slipway_core::{
        domain::{
            app::{Defaults, ValidApp},
            env::{Config, Entry, HashKey, Origin},
            repository::Repositories,
        },
        draft::config_secret,
    };
    use slipway_crds::{labels, v1alpha1::App};
    use slipway_support::fake_api::Fake;

    fn app(greeting: &str) -> App {
        serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "hello", "namespace": "team", "uid": "u-1"},
            "spec": {
                "source": {"git": {"url": "https://example.com/hello.git"}},
                "env": [{"name": "GREETING", "value": greeting}],
            },
        }))
        .unwrap()
    }

    fn owned(name: &str, more: Value) -> Value {
        let mut object = json!({"metadata": {
            "name": name, "namespace": "team", "uid": name, "labels": {labels::APP_UID: "u-1"},
            "ownerReferences": [{"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello",
                "uid": "u-1", "controller": true}],
        }});
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    }

    /// A Release as the operator makes it.
    fn release(fake: &Fake, number: i64, secret: &str) {
        let spec = json!({
            "app": {"name": "hello", "uid": "u-1"}, "number": number, "cause": "x", "inputs": "x",
            "renderer": 1, "revision": "r", "revisionId": "r",
            "image": {"reference": "slipway/team/hello@sha256:a"},
            "configSecret": secret, "processes": {}, "port": 5000, "deadlines": {},
            "podSecurity": "Restricted",
        });
        let name = format!("hello-v{number}");
        fake.put(&path(&name), owned(&name, json!({"spec": spec})));
    }

    fn path(release: &str) -> String {
        format!("/apis/slipway.dev/v1alpha1/namespaces/team/releases/{release}")
    }

    fn valid(app: &App) -> ValidApp {
        let defaults = Defaults {
            stack: "standard".into(),
            protocols: vec!["https".into()],
            ..Defaults::default()
        };
        ValidApp::new(app, &defaults).unwrap()
    }

    async fn observed(fake: &Fake, app: &App, key: &HashKey) -> Observed {
        let valid = valid(app);
        let repositories = Repositories::new("slipway", []);
        let caches = Caches::default();
        caches.read(&fake.client()).await;
        Box::pin(observe(
            &fake.client(),
            &caches,
            app,
            Some(&valid),
            key,
            &repositories,
        ))
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_config_is_read_only_to_tell_what_changed() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        let valid = valid(&app("hello"));
        let config = Config::merge([Entry {
            name: "GREETING".into(),
            value: "hello".into(),
            origin: Origin::Literal,
        }])
        .unwrap();
        let newest = config_secret(&valid, &config, &key);
        let before = config_secret(&valid, &Config::default(), &key);
        for (number, secret) in [(1, &before), (2, &newest)] {
            let secret_path = format!("/api/v1/namespaces/team/secrets/{secret}");
            fake.put(
                &secret_path,
                owned(secret, json!({"data": {"GREETING": "aGVsbG8="}})),
            );
            release(&fake, number, secret);
        }
        // A Secret of somebody else that only carries the label.
        let mut strange = owned("hello-config-mine", json!({}));
        strange["metadata"]["ownerReferences"] = json!([]);
        fake.put("/api/v1/namespaces/team/secrets/hello-config-mine", strange);

        let unchanged = observed(&fake, &app("hello"), &key).await;
        assert!(unchanged.configs.is_empty());
        assert!(unchanged.has_config(&newest) && unchanged.has_config(&before));
        assert_eq!(unchanged.config_secrets.len(), 2);
        assert!(unchanged.config_secrets.iter().all(|s| s.data.is_none()));
        let changed = observed(&fake, &app("good day"), &key).await;
        assert_eq!(changed.configs.keys().collect::<Vec<_>>(), [&newest]);
    }

    #[tokio::test]
    async fn of_what_is_referred_to_what_is_named_is_kept_as_far_as_there_is_room() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        let put = |name: &str, data: Value| {
            let map = json!({"metadata": {"name": name}, "data": data});
            fake.put(&format!("/api/v1/namespaces/team/configmaps/{name}"), map);
        };
        let kept = |seen: &Observed| -> usize {
            let maps = seen.referred.config_maps.values();
            maps.flat_map(|map| map.values().values().map(Vec::len))
                .sum()
        };
        put(
            "one",
            json!({"wanted": "yes", "other": "x".repeat(900_000)}),
        );
        let mut app = app("hello");
        app.spec.env = serde_json::from_value(json!([
            {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "wanted"}}},
        ]))
        .unwrap();
        let seen = observed(&fake, &app, &key).await;
        assert_eq!(kept(&seen), "yes".len());
        assert!(snapshot(&valid(&app), &seen.referred).is_ok());

        let mut whole = Vec::new();
        for number in 0..6 {
            let name = format!("whole-{number}");
            put(&name, json!({format!("A{number}"): "x".repeat(900_000)}));
            whole.push(json!({"configMapRef": {"name": name}}));
        }
        app.spec.env_from = serde_json::from_value(json!(whole)).unwrap();
        let seen = observed(&fake, &app, &key).await;
        let kept = kept(&seen);
        assert!(kept <= 4 << 20, "{kept} bytes");
        let error = snapshot(&valid(&app), &seen.referred).unwrap_err();
        assert!(
            error.to_string().contains("as of ConfigMap whole-4"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn of_many_big_builds_few_are_kept_whole() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        let artifact = json!({"repository": "slipway/slipway.dev/s", "digest": format!("sha256:{}", "0".repeat(64))});
        let value = "x".repeat(20_000);
        let env: Vec<Value> = (0..8)
            .map(|n| json!({"name": format!("V{n}"), "value": value}))
            .collect();
        for number in 0..30 {
            let name = format!("hello-{number:02}");
            let build = json!({
                "spec": {"app": {"name": "hello", "uid": "u-1"}, "revision": "r", "cause": "c", "timeout": "30m", "env": env,
                    "source": {"git": {"url": "https://x/y.git", "commit": "0".repeat(40)}},
                    "stack": {"name": "s", "stackName": "s", "buildImage": artifact, "runImage": artifact, "userId": 1}},
                "status": {"phase": "Failed", "appJson": value},
            });
            let path = format!("/apis/slipway.dev/v1alpha1/namespaces/team/builds/{name}");
            fake.put(&path, owned(&name, build));
        }
        let seen = observed(&fake, &app("hello"), &key).await;
        assert_eq!(seen.builds.len(), 30);
        let kept = serde_json::to_vec(&seen.builds).unwrap().len();
        assert!(kept < 32 * 1024, "{kept} bytes");
    }

    #[tokio::test]
    async fn a_release_that_cannot_be_read_hides_no_other_and_one_that_is_forged_does_not_count() {
        let fake = Fake::default();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        for number in 1..=3 {
            release(&fake, number, "hello-config-x");
        }
        let change = |name: &str, at: &str, value: Value| {
            let mut object = fake.object(&path(name)).unwrap();
            object[at] = value;
            fake.put(&path(name), object);
        };
        change("hello-v1", "status", json!({"phase": "Hibernated"}));
        let mut forged = fake.object(&path("hello-v3")).unwrap()["metadata"].take();
        forged["ownerReferences"] = json!([]);
        change("hello-v3", "metadata", forged);

        let seen = observed(&fake, &app("hello"), &key).await;
        let numbers: Vec<i64> = seen.releases.iter().map(|r| r.spec.number).collect();
        assert_eq!(numbers, [2]);
        assert_eq!(seen.unreadable_releases.len(), 1);
        assert!(seen.unreadable_releases[0].starts_with("Release hello-v1 cannot be read"));
        assert_eq!(seen.strange.len(), 1);
        assert!(seen.strange[0].starts_with("Release hello-v3 is ignored: no App controls it"));
    }
}
