//! The controller's I/O against a scripted API server and engine.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::State;
use bytes::Bytes;
use futures::{StreamExt as _, stream, stream::BoxStream};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slipway_crds::v1alpha1::Build;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    Wiring,
    build::{Builds, Parts, lock},
    caches::Caches,
    history::Brief as _,
    reconcile::{Outcome, Reconcile as _},
    run,
};
use slipway_base::{
    error::{Class, Classify as _},
    zone::{Zone, frame},
};
use slipway_core::build::zones::{Awaited, EndedBy, Preparing, ZoneState, Zones};
use slipway_core::{
    build::{
        mark::mark,
        plan::{BuildPlan, ZonePlan},
        queue::Entry,
    },
    domain::env::HashKey,
    settings::{Settings, file},
};
use slipway_driver::contract::{Driver, DriverError, Output, Read};
use slipway_k8s::{FieldManager, events::Publisher};
use slipway_remotes::registry::Registry;
use slipway_support::fake_api::Fake;
use slipway_telemetry::meters::Meters;

const PATH: &str = "/apis/slipway.dev/v1alpha1/namespaces/n/builds";
const APPS: &str = "/apis/slipway.dev/v1alpha1/namespaces/n/apps";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Zones that ended, by name, with their reports, `null` for none; what is started here never runs.
#[derive(Default)]
struct Engine {
    ended: BTreeMap<&'static str, Value>,
    /// Whether the engine fails with a fault of its own where it would otherwise refuse.
    troubled: bool,
    /// An image whose pull never ends.
    pulling: Option<Preparing>,
    starts: AtomicUsize,
    leftovers: Vec<String>,
    /// UID of a Build for which nothing can be opened, closed or removed.
    stuck: &'static str,
    removed: Mutex<Vec<String>>,
    /// Whether it accepts what it is asked to start.
    willing: bool,
    /// UIDs of Builds whose build zone has a way out, started or not.
    opened: Mutex<Vec<String>>,
    /// UIDs of Builds whose build zone has no way out any more.
    closed: Mutex<Vec<String>>,
    news: Notify,
}

impl Engine {
    fn zone(&self, zone: Zone) -> Option<&Value> {
        self.ended.get(zone.as_str())
    }

    fn stay(&self, uid: &str) -> Result<(), DriverError> {
        if uid != self.stuck {
            return Ok(());
        }
        Err(DriverError::Troubled {
            action: format!("do anything with the build {uid}"),
            message: "device or resource busy".to_owned(),
        })
    }
}

impl Read for Engine {
    async fn observe(&self, _: &str) -> Result<Zones, DriverError> {
        let of = |zone| match self.zone(zone) {
            None => ZoneState::Absent,
            Some(_) => ZoneState::Exited {
                code: 0,
                by: EndedBy::Itself,
                milliseconds: 1,
            },
        };
        Ok(Zones {
            fetch: of(Zone::Fetch),
            build: of(Zone::Build),
            export: of(Zone::Export),
        })
    }
    async fn output(&self, uid: &str, zone: Zone, _: bool) -> Result<Output, DriverError> {
        let report = self.zone(zone).filter(|report| !report.is_null());
        let frames = report.map(|report| {
            let mark = mark(&key(), uid, zone);
            frame::frames(&mark, &report.to_string()).unwrap().concat()
        });
        let frames = frames.unwrap_or_default();
        let output = format!("-----> {}\n{frames}", zone.as_str());
        Ok(Output::new(stream::iter([Ok(output.into())])))
    }
}

impl Driver for Engine {
    async fn start(&self, _: &BuildPlan, _: &ZonePlan) -> Result<ZoneState, DriverError> {
        self.starts.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
        if let Some(pulling) = &self.pulling {
            return Ok(ZoneState::Preparing(pulling.clone()));
        }
        if self.willing {
            return Ok(ZoneState::Running);
        }
        let action = "create the container".to_owned();
        let message = "no such runtime".to_owned();
        Err(if self.troubled {
            DriverError::Troubled { action, message }
        } else {
            DriverError::Refused { action, message }
        })
    }
    async fn work(&self, _: impl Fn(&str) + Send + Sync) {
        std::future::pending::<()>().await;
    }
    async fn open(&self, plan: &BuildPlan) -> Result<(), DriverError> {
        assert!(plan.egress.is_some());
        lock(&self.opened).push(plan.uid.clone());
        self.stay(&plan.uid)
    }
    async fn close(&self, uid: &str) -> Result<(), DriverError> {
        lock(&self.closed).push(uid.to_owned());
        self.stay(uid)
    }
    async fn stop(&self, _: &str) -> Result<(), DriverError> {
        Ok(())
    }
    async fn remove(&self, uid: &str) -> Result<(), DriverError> {
        self.stay(uid)?;
        self.removed.lock().unwrap().push(uid.to_owned());
        self.news.notify_one();
        Ok(())
    }
    async fn leftovers(&self) -> Result<Vec<String>, DriverError> {
        Ok(self.leftovers.clone())
    }
    async fn ended(&self) -> Result<BoxStream<'static, String>, DriverError> {
        Ok(stream::pending().boxed())
    }
}

fn key() -> HashKey {
    HashKey::from_bytes(&[7; HashKey::LENGTH]).unwrap()
}

/// The settings of these tests, over the chart's defaults.
const SETTINGS: &str = "
imageForNodes: n
imageForEngine: e
registry: {address: 'REGISTRY', engineAddress: 'localhost:1', pullAddress: 'localhost:1', insecure: true}
engine: {address: 'unix:///e'}
builds: {concurrency: 1, perNamespace: 1, logBytes: 1048576}
";

fn settings(registry: &str) -> Settings {
    let file = file::read(&SETTINGS.replace("REGISTRY", registry)).unwrap();
    Settings::new(file, "n", None, None)
}

struct Story {
    fake: Fake,
    engine: Arc<Engine>,
    builds: Arc<Builds<Engine>>,
    caches: Caches,
}

fn story(engine: Engine) -> Story {
    story_with(engine, "localhost:1")
}

fn story_with(engine: Engine, registry: &str) -> Story {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (fake, engine, settings) = (Fake::default(), Arc::new(engine), settings(registry));
    let clock: slipway_k8s::clock::Clock = Arc::new(|| Timestamp::from_second(1010).unwrap());
    let (client, caches) = (fake.client(), Caches::default());
    let builds = Arc::new(Builds::new(Parts {
        client: client.clone(),
        cache: caches.builds.clone(),
        events: Publisher::new(client, "test".to_owned(), Arc::clone(&clock)),
        meters: Meters::new("").builds,
        clock,
        driver: Arc::clone(&engine),
        registry: Arc::new(Registry::new(&settings.registry.push).unwrap()),
        key: key(),
        settings: Arc::new(settings),
    }));
    Story {
        fake,
        engine,
        builds,
        caches,
    }
}

impl Story {
    /// A Build that the API server and the cache have; its UID is its name.
    fn build(&mut self, name: &str, status: &Value) -> Arc<Build> {
        let artifact = json!({"repository": "slipway/slipway.dev/stacks/s/run", "digest": DIGEST});
        let of = format!("app-of-{name}");
        let app = json!({"metadata": {"name": of, "namespace": "n", "uid": name}});
        self.fake.put(&format!("{APPS}/{of}"), app);
        let object = json!({"apiVersion": "slipway.dev/v1alpha1", "kind": "Build",
            "metadata": {"name": name, "namespace": "n", "uid": name, "generation": 1, "creationTimestamp": "1970-01-01T00:16:40Z",
                "ownerReferences": [{"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": of, "uid": name, "controller": true}]},
            "spec": {"app": {"name": of, "uid": name}, "revision": "r", "cause": "c", "timeout": "30m",
                "source": {"git": {"url": "https://x/y.git", "commit": "0".repeat(40)}},
                "stack": {"name": "s", "stackName": "s", "buildImage": artifact, "runImage": artifact, "userId": 1}},
            "status": status});
        self.fake.put(&format!("{PATH}/{name}"), object.clone());
        let build: Build = serde_json::from_value(object).unwrap();
        self.caches.builds.put(&build, FieldManager::Build);
        Arc::new(build)
    }

    fn status(&self, name: &str) -> Value {
        self.fake.object(&format!("{PATH}/{name}")).unwrap()["status"].take()
    }
}

impl Story {
    /// Runs the whole controller, as in a new process, until `enough` is over.
    async fn run_until(&self, enough: impl Future<Output = ()>) {
        let client = self.fake.client();
        let clock: slipway_k8s::clock::Clock = Arc::new(|| Timestamp::from_second(1010).unwrap());
        let wiring = Wiring {
            events: Publisher::new(client.clone(), "test".to_owned(), clock),
            client: client.clone(),
            caches: self.caches.clone(),
            namespaces: Vec::new(),
            meters: Meters::new("").controllers,
            stop: CancellationToken::new(),
            unsynced: watch::channel(Vec::new()).0,
        };
        let operator = Box::pin(run(Arc::clone(&self.builds), wiring));
        let beside = Box::pin(self.builds.tend());
        let limit = tokio::time::timeout(Duration::from_mins(5), enough);
        tokio::select! {
            () = operator => panic!("it stopped"),
            () = beside => panic!("it does not tend"),
            () = self.caches.fill(&client, &[]) => panic!("the caches are not followed"),
            enough = limit => enough.expect("in time"),
        }
    }
}

/// What a registry was given, by digest.
type Taken = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A registry that accepts everything, and returns it when asked.
async fn take(
    State(taken): State<Taken>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    if head.method == Method::PUT {
        // A manifest's digest is computed; the query has that of a blob, which is uploaded first.
        let named = head
            .uri
            .query()
            .and_then(|query| query.split_once("digest="));
        let digest = named.map_or_else(
            || format!("sha256:{}", hex::encode(Sha256::digest(&body))),
            |(_, digest)| digest.replace("%3A", ":"),
        );
        taken.lock().unwrap().insert(digest, body);
    }
    let location = match head.method {
        Method::POST => format!("{}upload", head.uri.path()),
        _ => head.uri.path().to_owned(),
    };
    let kept = location.rsplit('/').next().unwrap_or_default();
    let kept = taken.lock().unwrap().get(kept).cloned();
    let (code, body) = match (&head.method, kept) {
        (&Method::POST | &Method::PATCH, _) => (StatusCode::ACCEPTED, Bytes::new()),
        (&Method::PUT, _) => (StatusCode::CREATED, Bytes::new()),
        (&Method::GET, _) if location == "/v2/" => (StatusCode::OK, Bytes::new()),
        (&Method::GET | &Method::HEAD, Some(body)) => (StatusCode::OK, body),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    let answer = axum::response::Response::builder().status(code);
    let answer = answer.header("location", location).header("range", "0-0");
    answer.body(axum::body::Body::from(body)).unwrap()
}

fn ready(status: &Value) -> &Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == "Ready").unwrap()
}

fn message(status: &Value) -> &str {
    ready(status)["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_build_ends_also_where_what_it_reported_cannot_be_kept() {
    let commands: BTreeMap<_, _> = (0..20)
        .map(|n| (format!("p{n}"), "x".repeat(8_000)))
        .collect();
    let mut story = story(Engine {
        ended: BTreeMap::from([
            ("fetch", json!({})),
            ("build", json!({"processes": commands})),
            (
                "export",
                json!({"image": {"repository": "r", "digest": DIGEST}}),
            ),
        ]),
        ..Engine::default()
    });
    story.fake.take_at_most(100_000);
    let running = json!({"phase": "Exporting", "startedAt": "1970-01-01T00:16:41Z"});
    let build = story.build("b", &running);
    story.builds.reconcile(build).await.unwrap();
    let status = story.status("b");
    assert_eq!(status["phase"], "Failed");
    assert!(
        message(&status).starts_with("build failed: what the build reported cannot be kept: cannot write status of Build b: etcdserver: request is too large"),
        "{status}"
    );
    assert!(status["processes"].is_null() && status["image"].is_null());
}

#[tokio::test]
async fn a_build_that_an_older_operator_began_is_interrupted_at_its_end() {
    // Its zones wrote their reports into files.
    let mut story = story(Engine {
        ended: ["fetch", "build", "export"]
            .map(|zone| (zone, Value::Null))
            .into(),
        ..Engine::default()
    });
    let running = json!({"phase": "Exporting", "startedAt": "1970-01-01T00:16:41Z"});
    let build = story.build("b", &running);
    story.builds.reconcile(build).await.unwrap();
    let status = story.status("b");
    assert_eq!(
        (&status["phase"], &ready(&status)["reason"]),
        (&json!("Failed"), &json!("BuildInterrupted"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_start_anything_is_asked_more_and_more_seldom() {
    let mut story = story(Engine {
        troubled: true,
        ..Engine::default()
    });
    story.build("b", &json!({}));
    let began = tokio::time::Instant::now();
    let enough = async {
        while story.engine.starts.load(Ordering::SeqCst) < 8 {
            story.engine.news.notified().await;
        }
    };
    story.run_until(enough).await;
    // 1, 2, 4… seconds, each a quarter more or less.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(90), "8 tries in {took:?}");
    assert_eq!(ready(&story.status("b"))["reason"], "TemporaryFailure");
    let writes = story.fake.writes();
    let statuses = writes.iter().filter(|write| write.ends_with("/status"));
    assert_eq!(statuses.count(), 2, "{writes:?}");
}

#[tokio::test]
async fn a_new_operator_brings_a_build_to_its_end_and_tidies_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let registry = axum::serve(
        listener,
        axum::Router::new()
            .fallback(take)
            .with_state(Taken::default()),
    )
    .into_future();
    let mut registry = std::pin::pin!(registry);
    // The operator was killed before the end was written, or before the log was stored.
    for (phase, wanted) in [("Exporting", "Succeeded"), ("Succeeded", "Succeeded")] {
        let mut story = story_with(
            Engine {
                ended: BTreeMap::from([
                    ("fetch", json!({})),
                    ("build", json!({"processes": {"web": "serve"}})),
                    (
                        "export",
                        json!({"image": {"repository": "r", "digest": DIGEST}}),
                    ),
                ]),
                ..Engine::default()
            },
            &address,
        );
        let mut running = json!({"phase": phase, "startedAt": "1970-01-01T00:16:41Z"});
        if phase == "Succeeded" {
            running["processes"] = json!({"web": "serve"});
            running["appJson"] = json!("{}");
        }
        story.build("b", &running);
        let began = std::time::Instant::now();
        let enough = async {
            while story.engine.removed.lock().unwrap().is_empty() {
                story.engine.news.notified().await;
            }
        };
        tokio::select! {
            () = story.run_until(enough) => {}
            served = &mut registry => panic!("{served:?}"),
        }
        let status = story.status("b");
        assert_eq!(status["phase"], wanted, "{status}");
        assert!(status["log"]["digest"].is_string(), "{status}");
        // The cache lacks a part of the Build; writing the status must not lose that part.
        assert_eq!(status["processes"]["web"], "serve", "{status}");
        assert_eq!(status["appJson"].is_string(), phase == "Succeeded");
        assert!(began.elapsed() < Duration::from_secs(20), "it waited");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_stored_yet_takes_up_no_reconcile() {
    let mut story = story(Engine {
        ended: BTreeMap::from([("fetch", json!({}))]),
        ..Engine::default()
    });
    let over = json!({"phase": "Failed", "startedAt": "1970-01-01T00:16:41Z", "finishedAt": "1970-01-01T00:16:42Z"});
    let build = story.build("b", &over);
    let others = story.builds.archives.acquire_many(2).await.unwrap();
    let soon = story.builds.reconcile(Arc::clone(&build));
    let outcome = tokio::time::timeout(Duration::from_secs(20), soon).await;
    assert_eq!(
        outcome.unwrap().unwrap(),
        Outcome::After(Duration::from_secs(1))
    );
    // The Build has its turn, and the registry is unavailable.
    drop(others);
    story.builds.reconcile(build).await.unwrap_err();
    assert_eq!(story.builds.archives.available_permits(), 2);
}

#[tokio::test]
async fn values_that_are_too_much_together_are_not_kept_and_it_is_told_which() {
    let mut story = story(Engine::default());
    let build = story.build("b", &json!({}));
    let mut env = Vec::new();
    for name in ["A", "B", "C"] {
        let path = format!("/api/v1/namespaces/n/configmaps/{}", name.to_lowercase());
        let data = json!({"data": {"key": "x".repeat(400_000)}});
        story.fake.put(&path, data);
        let at = json!({"name": name.to_lowercase(), "key": "key"});
        env.push(json!({"name": name, "valueFrom": {"configMapKeyRef": at}}));
    }
    let path = format!("{PATH}/b");
    let mut object = story.fake.object(&path).unwrap();
    object["spec"]["env"] = json!(env);
    story.fake.put(&path, object);
    let error = story.builds.reconcile(build).await.unwrap_err();
    assert!(matches!(error.class(), Class::Waiting { .. }), "{error}");
    let status = story.status("b");
    assert!(message(&status).contains("the variable C"), "{status}");
    assert_eq!(story.engine.starts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_build_that_has_ended_leaves_no_network_to_wait_for_the_log() {
    let report = |zone: &'static str| {
        let image = json!({"image": {"repository": "r", "digest": DIGEST}});
        (zone, if zone == "export" { image } else { json!({}) })
    };
    // A network that cannot be removed does not cost the image. The registry is unavailable: the log stays on the
    // engine.
    for stuck in ["", "b"] {
        let mut story = story(Engine {
            ended: ["fetch", "build", "export"].map(report).into(),
            stuck,
            ..Engine::default()
        });
        let running = json!({"phase": "Exporting", "startedAt": "1970-01-01T00:16:41Z"});
        let build = story.build("b", &running);
        story.builds.reconcile(build).await.unwrap();
        let status = story.status("b");
        assert_eq!(status["phase"], "Succeeded", "{status}");
        assert!(status["log"].is_null(), "{status}");
        assert_eq!(*story.engine.closed.lock().unwrap(), ["b"]);
        assert_eq!(*story.engine.removed.lock().unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn the_way_out_is_opened_beside_fetch_and_keeps_it_from_nothing() {
    let pulling = Preparing {
        awaits: Awaited::Image("r/operator@sha256:1".to_owned()),
        trouble: None,
    };
    for (pulling, stuck) in [
        (None, ""),
        // A way out that cannot be opened is not a failure yet.
        (None, "b"),
        // Both fetch and the way out wait for the same image.
        (Some(pulling), ""),
    ] {
        let waits = pulling.is_some();
        let mut story = story(Engine {
            pulling,
            stuck,
            willing: true,
            ..Engine::default()
        });
        let build = story.build("b", &json!({}));
        story.builds.reconcile(build).await.unwrap();
        let status = story.status("b");
        let reason = if waits {
            "PullingImage"
        } else {
            "BuildRunning"
        };
        assert_eq!(
            (&status["phase"], &ready(&status)["reason"]),
            (&json!("Fetching"), &json!(reason))
        );
        assert_eq!(*story.engine.opened.lock().unwrap(), ["b"]);
        assert_eq!(story.engine.starts.load(Ordering::SeqCst), 1);
    }
    // The start of the build zone opens the way out itself.
    let mut story = story(Engine {
        ended: [("fetch", json!({}))].into(),
        willing: true,
        ..Engine::default()
    });
    let running = json!({"phase": "Fetching", "startedAt": "1970-01-01T00:16:41Z"});
    let build = story.build("b", &running);
    story.builds.reconcile(build).await.unwrap();
    assert_eq!(story.status("b")["phase"], "Building");
    assert_eq!(*story.engine.opened.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_comes_late_of_a_build_that_is_over_and_has_no_log_is_swept() {
    let mut story = story(Engine {
        leftovers: vec!["b".to_owned()],
        ..Engine::default()
    });
    let over = json!({"phase": "Cancelled", "startedAt": "1970-01-01T00:16:41Z", "finishedAt": "1970-01-01T00:16:42Z"});
    let build = story.build("b", &over);
    story.builds.sweep().await.unwrap();
    story.builds.reconcile(build).await.unwrap();
    assert_eq!(*story.engine.removed.lock().unwrap(), ["b"]);
}

#[tokio::test]
async fn a_build_whose_image_never_comes_says_so_and_can_be_cancelled() {
    let mut story = story(Engine {
        pulling: Some(Preparing {
            awaits: Awaited::Image("r/build@sha256:1".to_owned()),
            trouble: None,
        }),
        ..Engine::default()
    });
    let build = story.build("b", &json!({}));
    let outcome = story.builds.reconcile(Arc::clone(&build)).await.unwrap();
    assert!(matches!(outcome, Outcome::After(_)), "{outcome:?}");
    let status = story.status("b");
    assert_eq!(
        (&status["phase"], &ready(&status)["reason"]),
        (&json!("Fetching"), &json!("PullingImage"))
    );
    assert!(message(&status).contains("r/build@sha256:1"), "{status}");

    let path = format!("{PATH}/b");
    let mut object = story.fake.object(&path).unwrap();
    object["metadata"]["annotations"] = json!({"slipway.dev/cancel": "true"});
    story.fake.put(&path, object);
    story.builds.reconcile(build).await.unwrap();
    assert_eq!(story.status("b")["phase"], "Cancelled");
    assert_eq!(*story.engine.removed.lock().unwrap(), ["b"]);
}

#[tokio::test]
async fn what_cannot_be_swept_keeps_nothing_from_the_rest_and_is_told() {
    let story = story(Engine {
        leftovers: ["a", "b", "c"].map(str::to_owned).to_vec(),
        stuck: "b",
        ..Engine::default()
    });
    let error = story.builds.sweep().await.unwrap_err();
    assert!(error.to_string().contains("device or resource busy"));
    let mut removed = story.engine.removed.lock().unwrap().clone();
    removed.sort();
    assert_eq!(removed, ["a", "c"]);
}

#[tokio::test]
async fn the_place_of_a_deleted_build_is_offered_to_those_that_wait() {
    let mut story = story(Engine::default());
    let running = story.build("running", &json!({"phase": "Building"}));
    story.build("waits", &json!({"phase": "Pending"}));
    story.builds.note_running(&running);
    let mut calls = story.builds.calls.subscribe();
    story.builds.remove(Some("running".into())).await.unwrap();
    assert_eq!(&*calls.try_recv().unwrap().1, "waits");
    assert_eq!(lock(&story.builds.turns).at_work(), 0);
}

#[tokio::test]
async fn a_build_whose_first_container_is_refused_leaves_no_volume() {
    let mut story = story(Engine::default());
    let build = story.build("b", &json!({}));
    story.builds.reconcile(build).await.unwrap();
    assert_eq!(story.status("b")["phase"], "Failed");
    assert_eq!(*story.engine.removed.lock().unwrap(), ["b"]);
}

#[tokio::test]
async fn a_build_that_no_app_controls_is_ignored_and_told_of() {
    let mut story = story(Engine::default());
    let app = json!({"metadata": {"name": "a", "namespace": "n", "uid": "a"}});
    let owner = json!({"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": "a", "controller": true});
    let mut other = owner.clone();
    other["uid"] = json!("b");
    for (name, owners, said) in [
        ("none", json!([]), "no App controls it"),
        (
            "other",
            json!([other]),
            "App a controls it, but it is about App app-of-none",
        ),
    ] {
        story.build("none", &json!({}));
        let path = format!("{PATH}/none");
        let mut object = story.fake.object(&path).unwrap();
        object["metadata"]["ownerReferences"] = owners;
        story.fake.put(&path, object.clone());
        story.fake.put(&format!("{APPS}/a"), app.clone());
        let forged: Build = serde_json::from_value(object).unwrap();
        story.caches.builds.put(&forged, FieldManager::Build);
        assert!(
            story.builds.entries().is_empty(),
            "{name} counts in the queue"
        );
        let before = story.fake.writes().len();
        story.builds.reconcile(Arc::new(forged)).await.unwrap();
        let writes = story.fake.writes().split_off(before);
        assert!(
            writes.len() == 1 && writes[0].contains("/events"),
            "{name}: {writes:?}"
        );
        let events = story.fake.objects("/apis/events.k8s.io");
        let notes: Vec<&str> = events.iter().filter_map(|e| e["note"].as_str()).collect();
        assert!(notes.iter().any(|n| n.contains(said)), "{name}: {notes:?}");
    }
    assert!(story.engine.removed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_build_whose_app_is_not_there_does_not_begin_and_holds_up_nobody() {
    let mut story = story(Engine::default());
    let build = story.build("b", &json!({}));
    let another = json!({"metadata": {"name": "app-of-b", "namespace": "n", "uid": "newer"}});
    story.fake.put(&format!("{APPS}/app-of-b"), another);
    story.builds.reconcile(build).await.unwrap_err();
    let status = story.status("b");
    assert!(
        message(&status).contains("there is no App app-of-b with the UID"),
        "{status}"
    );
    assert_ne!(status["phase"], "Failed");
}

#[tokio::test]
async fn a_build_in_an_image_of_another_namespace_is_refused_unless_the_stack_names_it() {
    let theirs = json!({"repository": "slipway/other/app", "digest": DIGEST});
    for (stack, begins) in [
        (None, false),
        (
            Some(json!({"repository": "slipway/x/y", "digest": DIGEST})),
            false,
        ),
        (Some(theirs.clone()), true),
    ] {
        let mut story = story(Engine::default());
        story.build("b", &json!({}));
        if let Some(image) = &stack {
            let stack = json!({"metadata": {"name": "s"}, "spec": {"buildImage": image, "runImage": image}});
            story.fake.put("/apis/slipway.dev/v1alpha1/stacks/s", stack);
        }
        let path = format!("{PATH}/b");
        let mut object = story.fake.object(&path).unwrap();
        object["spec"]["stack"]["buildImage"] = theirs.clone();
        story.fake.put(&path, object.clone());
        let build: Build = serde_json::from_value(object).unwrap();
        story.builds.reconcile(Arc::new(build)).await.unwrap();
        let said = message(&story.status("b")).to_owned();
        // The engine of this test refuses everything.
        let wanted = if begins {
            "no such runtime"
        } else {
            "slipway/other/app"
        };
        assert!(said.contains(wanted), "{stack:?}: {said}");
    }
}

#[test]
fn of_a_large_build_what_the_queue_asks_for_is_kept_and_no_more() {
    let long = "x".repeat(100_000);
    let mut build: Build = serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "Build",
        "metadata": {
            "name": "b", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"x": long},
            "ownerReferences": [{"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "a",
                "controller": true}],
        },
        "spec": {
            "app": {"name": "hello", "uid": "a"}, "revision": "r", "cause": "c",
            "source": {"git": {"url": "https://h/x.git", "commit": "a".repeat(40)}},
            "stack": {
                "name": "s", "stackName": "s", "userId": 1, "buildImage": {"repository": "r", "digest": DIGEST},
                "runImage": {"repository": "r", "digest": DIGEST},
            },
            "env": [{"name": "A", "value": long}], "timeout": "30m",
        },
        "status": {
            "phase": "Building", "appJson": long, "processes": {"web": long},
            "packs": [{"name": "p", "digest": "d", "report": {"detail": long}}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "ReferenceMissing", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }))
    .unwrap();
    let before = Entry::of(&build).unwrap();
    build.brief();
    assert_eq!(Entry::of(&build).unwrap(), before);
    let text = serde_json::to_string(&build).unwrap();
    assert!(text.len() < 2_000, "{text}");
}
