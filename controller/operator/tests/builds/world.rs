//! A real API server, engine and registry, a namespace of a test's own in it, and the Build controller.

use std::{
    collections::HashMap,
    fmt::Debug,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    auth::DockerCredentials,
    query_parameters::{
        ListContainersOptionsBuilder, ListVolumesOptionsBuilder, PushImageOptions,
        RemoveImageOptions, TagImageOptionsBuilder,
    },
};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{DeleteParams, PostParams},
    runtime::wait::{Condition, await_condition},
};
use serde_json::{Value, json};
use slipway::controllers::{
    Wiring,
    build::{Builds, Parts},
    caches::Caches,
    run,
};
use slipway_base::zone::input::{RegistryAccess, Secret};
use slipway_core::{
    domain::env::HashKey,
    settings::{RegistrySettings, Settings, file},
};
use slipway_crds::v1alpha1::{App, Artifact, Build};
use slipway_driver::{
    contract::Driver as _,
    docker::{Docker, Setup},
};
use slipway_k8s::events::Publisher;
use slipway_remotes::registry::Registry;
use slipway_telemetry::meters::Meters;
use tokio::{sync::OnceCell, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use slipway_support::docker_engine::{self, facts, text};

pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
const LOCAL_IMAGE: &str = "slipway-builds-test:1";
/// Where a Stack's images may be.
const REPOSITORY: &str = "slipway-test/slipway.dev/stacks/test";

static IMAGE: OnceCell<Artifact> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) settings: Settings,
    image: Artifact,
}

fn registry(facts: &Value) -> RegistrySettings {
    let read = |path| std::fs::read_to_string(text(facts, path)).unwrap();
    RegistrySettings {
        push: RegistryAccess {
            address: text(facts, "/registry/push"),
            username: Some(text(facts, "/registry/username")),
            password: Some(Secret(read("/registry/password_file").trim().to_owned())),
            ca_pem: Some(read("/registry/ca_file")),
            insecure: false,
        },
        engine_address: text(facts, "/registry/engine"),
        pull_address: text(facts, "/registry/pull"),
        prefix: "slipway-test".into(),
        pull_secret: None,
    }
}

/// The settings of these tests, over the chart's defaults. The way out is the driver's to test: here the operator's image
/// has another program.
const SETTINGS: &str = "
imageForNodes: n
imageForEngine: e
registry: {address: r}
engine: {address: 'unix:///e'}
builds: {perNamespace: 2, timeout: TIMEOUT, cpus: '', maxCpus: '', memory: 64Mi, pids: 64, logBytes: 1048576, egress: open}
";

fn settings(facts: &Value, namespace: &str) -> Settings {
    let timeout = format!("{}s", DEADLINE.as_secs());
    let file = file::read(&SETTINGS.replace("TIMEOUT", &timeout)).unwrap();
    let mut settings = Settings::new(file, namespace, None, None);
    settings.watch_namespaces = vec![namespace.to_owned()];
    settings.image_for_engine = LOCAL_IMAGE.into();
    settings.registry = registry(facts);
    settings.engine.address = format!("unix://{}", text(facts, "/engine/socket"));
    settings
}

impl World {
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let facts = facts();
        let image = IMAGE.get_or_init(|| publish(&facts)).await.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let namespace = format!(
            "builds-{}-{}",
            now.as_secs(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let client = Client::try_default().await.unwrap();
        let object: Namespace =
            serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        Self {
            client,
            settings: settings(&facts, &namespace),
            namespace,
            image,
        }
    }

    pub(crate) fn driver(&self) -> Docker {
        Docker::new(Setup {
            engine: self.settings.engine.clone(),
            registry: self.settings.registry.clone(),
            image: self.settings.image_for_engine.clone(),
            pids: self.settings.builds.pids,
            owner: self.namespace.clone(),
        })
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(&self.settings.registry.push).unwrap()
    }

    /// The controller, in a process of its own as far as memory goes.
    pub(crate) fn operator(&self) -> Operator {
        let clock: slipway_k8s::clock::Clock = Arc::new(jiff::Timestamp::now);
        let events = Publisher::new(self.client.clone(), "test".into(), Arc::clone(&clock));
        let meters = Meters::new("0");
        let caches = Caches::default();
        let builds = Arc::new(Builds::new(Parts {
            client: self.client.clone(),
            cache: caches.builds.clone(),
            settings: Arc::new(self.settings.clone()),
            events: events.clone(),
            meters: meters.builds,
            clock,
            driver: Arc::new(self.driver()),
            registry: Arc::new(self.registry()),
            key: HashKey::from_bytes(&[7; HashKey::LENGTH]).unwrap(),
        }));
        let client = self.client.clone();
        let namespaces = self.settings.watch_namespaces.clone();
        let wiring = Wiring {
            client: client.clone(),
            caches: caches.clone(),
            namespaces: namespaces.clone(),
            events,
            meters: meters.controllers,
            stop: CancellationToken::new(),
            unsynced: watch::channel(Vec::new()).0,
        };
        Operator(tokio::spawn(async move {
            futures::join!(
                run(Arc::clone(&builds), wiring),
                builds.tend(),
                caches.fill(&client, &namespaces)
            );
        }))
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The App of this name, made if it is not there. Nobody looks after it but the test.
    pub(crate) async fn app(&self, name: &str) -> App {
        let apps = self.api::<App>();
        if let Some(app) = apps.get_opt(name).await.unwrap() {
            return app;
        }
        let object = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": name},
            "spec": {"source": {"git": {"url": "https://example.com/x.git"}}},
        }))
        .unwrap();
        apps.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Makes a Build; `spec` is laid over what all have in common.
    pub(crate) async fn build(&self, name: &str, app: &str, spec: Value) -> Build {
        let app = self.app(app).await;
        let mut whole = json!({
            "app": {"name": app.name_any(), "uid": app.uid().unwrap()},
            "revision": "revision",
            "cause": "a test",
            "source": {"git": {"url": "https://example.com/x.git", "commit": "0".repeat(40)}},
            "stack": {
                "name": "test", "stackName": "test", "buildImage": self.image, "runImage": self.image, "userId": 32767,
            },
            "timeout": "60s",
        });
        merge(&mut whole, spec);
        let object = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "Build", "spec": whole,
            "metadata": {"name": name, "ownerReferences": [app.controller_owner_ref(&()).unwrap()]},
        }))
        .unwrap();
        self.api::<Build>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Waits until the Build is as wished.
    pub(crate) async fn until(
        &self,
        name: &str,
        wished: impl Fn(&Build) -> bool + Send + Sync,
    ) -> Build {
        let condition = |build: Option<&Build>| build.is_some_and(&wished);
        self.eventually(name, condition).await.unwrap()
    }

    pub(crate) async fn eventually<K>(&self, name: &str, wished: impl Condition<K>) -> Option<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let api = self.api::<K>();
        let found =
            tokio::time::timeout(DEADLINE, await_condition(api.clone(), name, wished)).await;
        let Ok(found) = found else {
            panic!("{name} is not as wished: {:#?}", api.get(name).await);
        };
        found.unwrap()
    }

    /// Names of containers and volumes of a Build.
    pub(crate) async fn left(&self, uid: &str) -> Vec<String> {
        let docker = self.engine().await;
        let filters = HashMap::from([("label", vec![format!("slipway.dev/build-uid={uid}")])]);
        let containers = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters);
        let containers = docker.list_containers(Some(containers.build())).await;
        let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = docker.list_volumes(Some(volumes)).await.unwrap().volumes;
        let mut names: Vec<_> = containers
            .unwrap()
            .into_iter()
            .flat_map(|container| container.names.unwrap_or_default())
            .collect();
        names.extend(volumes.unwrap_or_default().into_iter().map(|v| v.name));
        names
    }

    /// Waits until nothing of a Build is on the engine.
    pub(crate) async fn until_nothing_is_left(&self, uid: &str) {
        let mut left = self.left(uid).await;
        let gone = async {
            while !left.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                left = self.left(uid).await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, gone).await;
        assert!(in_time.is_ok(), "{left:?}");
    }

    /// The engine's own record of which zones of a Build it started.
    pub(crate) async fn starts(&self, uid: &str) -> Vec<String> {
        let label = format!("slipway.dev/build-uid={uid}");
        let events = docker_engine::starts(&self.engine().await, "label", &label).await;
        events
            .into_iter()
            .filter_map(|event| event.actor?.attributes?.remove("slipway.dev/zone"))
            .collect()
    }

    async fn engine(&self) -> bollard::Docker {
        engine(&self.settings.engine.address).await
    }

    /// Whatever the test did, nothing of it stays on the engine; the controller runs still.
    pub(crate) async fn end(self) {
        let driver = self.driver();
        let swept = async {
            while !driver.leftovers().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(DEADLINE, swept)
            .await
            .expect("nothing stays on the engine");
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .unwrap();
    }
}

/// Dropped: as if killed.
pub(crate) struct Operator(JoinHandle<()>);

impl Drop for Operator {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn merge(whole: &mut Value, part: Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                merge(whole.entry(key).or_insert(Value::Null), value);
            }
        }
        (whole, part) => *whole = part,
    }
}

pub(crate) fn reason(build: &Build) -> &str {
    build
        .status
        .as_ref()
        .and_then(|status| status.conditions.iter().find(|c| c.type_ == "Ready"))
        .map_or("", |ready| &ready.reason)
}

pub(crate) fn uid(build: &Build) -> String {
    build.uid().unwrap()
}

async fn engine(address: &str) -> bollard::Docker {
    bollard::Docker::connect_with_unix(address, 120, bollard::API_DEFAULT_VERSION)
        .unwrap()
        .negotiate_version()
        .await
        .unwrap()
}

/// An image of the stand-in: on the engine by name, and in the registry, from where it is pulled by digest.
async fn publish(facts: &Value) -> Artifact {
    let docker = engine(&format!("unix://{}", text(facts, "/engine/socket"))).await;
    docker_engine::import(
        &docker,
        LOCAL_IMAGE,
        Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/builds/program.rs"
        )),
        "bin/slipway",
    )
    .await;
    let registry = registry(facts);
    let name = format!("{}/{REPOSITORY}", registry.engine_address);
    let tag = TagImageOptionsBuilder::new().repo(&name).tag("1").build();
    docker.tag_image(LOCAL_IMAGE, Some(tag)).await.unwrap();
    let account = DockerCredentials {
        username: registry.push.username,
        password: registry.push.password.map(|password| password.0),
        ..DockerCredentials::default()
    };
    docker
        .push_image(&name, None::<PushImageOptions>, Some(account))
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    let digests = docker
        .inspect_image(&format!("{name}:1"))
        .await
        .unwrap()
        .repo_digests
        .unwrap();
    for reference in std::iter::once(format!("{name}:1")).chain(digests.clone()) {
        let _ = docker
            .remove_image(&reference, None::<RemoveImageOptions>, None)
            .await;
    }
    let digest = digests
        .iter()
        .find_map(|reference| reference.strip_prefix(&format!("{name}@")))
        .unwrap();
    Artifact {
        repository: REPOSITORY.to_owned(),
        digest: digest.to_owned(),
    }
}
