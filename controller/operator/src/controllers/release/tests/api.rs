//! The controller against a scripted API server: what it leaves alone, and what it reports.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use slipway_crds::v1alpha1::{App, ReleaseSite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    Wiring,
    caches::Caches,
    reconcile::{Outcome, Reconcile},
    release::{
        NEXT, ReleaseController,
        departures::Departures,
        error::Error,
        tests::{at, release},
    },
    run,
    watches::Watches,
};
use slipway_core::{desired::Site, domain::repository::Repositories, settings::ServiceType};
use slipway_k8s::{cache::Cache, events::Publisher};
use slipway_support::fake_api::Fake;
use slipway_telemetry::meters::Meters;

const APPS: &str = "/apis/apps/v1/namespaces/team";
const APP: &str = "/apis/slipway.dev/v1alpha1/namespaces/team/apps/hello";
const RELEASE: &str = "/apis/slipway.dev/v1alpha1/namespaces/team/releases/hello-v1";
const POD: &str = "/api/v1/namespaces/team/pods/hello-web-x";
const BEGAN: i64 = 1_767_225_600;

struct World {
    fake: Fake,
    controller: ReleaseController,
    now: Arc<AtomicI64>,
    app: App,
}

impl World {
    fn new() -> Self {
        let fake = Fake::default();
        let now = Arc::new(AtomicI64::new(BEGAN));
        let clock: slipway_k8s::clock::Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || at(now.load(Ordering::SeqCst)))
        };
        let client = fake.client();
        let controller = ReleaseController {
            client: client.clone(),
            caches: Caches::default(),
            site: Site {
                pods: ReleaseSite {
                    registry: "registry".into(),
                    pull_secret: None,
                    program_image: "programs".into(),
                    drain_seconds: 5,
                },
                service_type: ServiceType::ClusterIp,
            },
            repositories: Repositories::new("slipway", []),
            departures: Departures::default(),
            events: Publisher::new(client, "test".to_owned(), Arc::clone(&clock)),
            clock,
            meters: Meters::new("").deploys,
        };
        let app = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
            "metadata": {"name": "hello", "namespace": "team", "uid": "app"},
            "spec": {"source": {"image": {"reference": "i"}}},
        }));
        let mut release = serde_json::to_value(release()).unwrap();
        release["metadata"]["name"] = json!("hello-v1");
        release["metadata"]["uid"] = json!("release");
        release["metadata"]["generation"] = json!(1);
        release["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "app", "controller": true,
        }]);
        release["spec"]["image"]["reference"] = json!("slipway/team/hello@sha256:a");
        release["spec"]["configSecret"] = json!("hello-config-s");
        release["spec"]["number"] = json!(1);
        release["spec"]["processes"]["web"]["replicas"] = json!(1);
        release["status"] = json!({"phase": "Serving", "deployedAt": "2026-01-01T00:00:00Z"});
        fake.put(RELEASE, release);
        Self {
            fake,
            controller,
            now,
            app: app.unwrap(),
        }
    }

    /// One reconcile. Returns its writes, without Events.
    async fn look(&self) -> Vec<String> {
        let before = self.fake.writes().len();
        self.outcome().await.unwrap();
        let mut writes = self.fake.writes().split_off(before);
        writes.retain(|write| !write.contains("/events"));
        writes
    }

    async fn outcome(&self) -> Result<Outcome, Error> {
        self.fake.put(APP, serde_json::to_value(&self.app).unwrap());
        let watched = Fake::sharing(&self.fake);
        self.controller.caches.read(&watched.client()).await;
        self.controller.reconcile(Arc::new(self.app.clone())).await
    }

    fn deployment(&self) -> Value {
        self.fake.object("/deployments/hello-web").unwrap()
    }

    /// What the deployment controller makes of the Deployment.
    fn pods(&self, available: i32) {
        let mut deployment = self.deployment();
        let replicas = deployment["spec"]["replicas"].clone();
        deployment["metadata"]["generation"] = json!(1);
        deployment["status"] =
            json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas});
        let uid = deployment["metadata"]["uid"].clone();
        self.fake
            .put(&format!("{APPS}/deployments/hello-web"), deployment);
        let set = json!({
            "metadata": {
                "name": "hello-web-1", "namespace": "team", "labels": {"slipway.dev/app": "hello", "slipway.dev/release": "1"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-web", "uid": uid}],
            },
            "spec": {"selector": {}}, "status": {"replicas": 1, "availableReplicas": available},
        });
        self.fake
            .put(&format!("{APPS}/replicasets/hello-web-1"), set);
    }

    fn ready(&self) -> String {
        let release = self.fake.object("/releases/hello-v1").unwrap();
        let conditions = release["status"]["conditions"].as_array().unwrap();
        let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        format!("{} {}: {}", text("status"), text("reason"), text("message"))
    }
}

#[tokio::test]
async fn what_something_else_scales_is_left_to_it_in_one_write_and_then_in_none() {
    let mut world = World::new();
    world.look().await;
    assert_eq!(world.deployment()["spec"]["replicas"], json!(1));
    for (number, manager) in [(3, "kube-controller-manager"), (0, "kubectl")] {
        let mut deployment = world.deployment();
        deployment["spec"]["replicas"] = json!(number);
        deployment["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": "Update", "subresource": "scale", "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }]);
        world
            .fake
            .put(&format!("{APPS}/deployments/hello-web"), deployment);
        world.pods(number);
        let first = world.look().await;
        assert!(first.len() <= 2, "{first:?}");
        assert_eq!(world.look().await, [""; 0]);
        assert_eq!(world.deployment()["spec"]["replicas"], json!(number));
    }
    world.app.spec.processes.insert(
        "web".into(),
        serde_json::from_value(json!({"replicas": 2})).unwrap(),
    );
    world.look().await;
    assert_eq!(world.deployment()["spec"]["replicas"], json!(2));
}

#[tokio::test]
async fn a_release_that_served_tells_when_its_pods_are_gone_and_when_they_are_back() {
    let world = World::new();
    world.look().await;
    world.pods(1);
    world.look().await;
    assert_eq!(world.ready(), "True Deployed: hello-v1 serves 1f2e3d4c5b6a");
    assert_eq!(world.look().await, [""; 0]);

    world.pods(0);
    world.look().await;
    assert_eq!(world.ready(), "False Progressing: no pod of web is ready");
    let waiting = json!({"reason": "InvalidImageName", "message": "x"});
    let mut pod = json!({
        "metadata": {
            "name": "hello-web-x", "namespace": "team", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "slipway.dev/app": "hello", "slipway.dev/app-uid": "app", "slipway.dev/release": "1",
                "slipway.dev/process": "web",
            },
        },
        "spec": {"containers": [{"name": "web", "image": "registry:5000/hello@sha256:a"}]},
        "status": {
            "phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{
                "name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": waiting},
            }],
        },
    });
    world.fake.put(POD, pod.clone());
    world.look().await;
    assert!(world.ready().starts_with("False ImagePullFailed: web: "));
    assert_eq!(world.look().await, [""; 0]);

    pod["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    world.fake.put(POD, pod);
    world.pods(1);
    world.now.fetch_add(5, Ordering::SeqCst);
    world.look().await;
    assert_eq!(world.ready(), "True Deployed: hello-v1 serves 1f2e3d4c5b6a");
    assert_eq!(world.look().await, [""; 0]);
}

#[tokio::test]
async fn what_was_refused_beside_a_roll_out_is_told_as_soon_as_it_serves() {
    let mut world = World::new();
    let mut release = world.fake.object(RELEASE).unwrap();
    release["spec"]["volumes"] =
        json!([{"name": "data", "claim": "hello-data", "mountPath": "/data"}]);
    release["status"] = json!({"phase": "Pending"});
    world.fake.put(RELEASE, release);
    for size in ["1Gi", "2Gi"] {
        let storage =
            json!([{"name": "data", "mountPath": "/data", "claimTemplate": {"size": size}}]);
        world.app.spec.storage = serde_json::from_value(storage).unwrap();
        world.look().await;
        world.fake.fix("/persistentvolumeclaims/hello-data");
    }
    world.pods(1);
    // After the deadline, a Release does not wait for the EndpointSlices any more.
    world.now.fetch_add(3600, Ordering::SeqCst);
    assert_eq!(world.outcome().await.unwrap(), Outcome::After(NEXT));
    assert_eq!(world.ready(), "True Deployed: hello-v1 serves 1f2e3d4c5b6a");
    world.outcome().await.unwrap_err();
    let told = "False InvalidSpec: the claim hello-data cannot be changed as spec.storage asks";
    assert!(world.ready().starts_with(told), "{}", world.ready());
}

/// The controller, and how often it reconciled.
struct Counted {
    world: World,
    looks: AtomicUsize,
}

impl Counted {
    /// Does something, and returns how many reconciles that caused in less than [`NEXT`]. The clock stands still while
    /// anything is left to do.
    async fn looks_after(&self, happens: impl FnOnce(&World)) -> usize {
        let before = self.looks.load(Ordering::SeqCst);
        happens(&self.world);
        tokio::time::sleep(Duration::from_millis(600)).await;
        self.looks.load(Ordering::SeqCst) - before
    }
}

impl Reconcile for Counted {
    type Object = App;
    type Error = Error;
    const NAME: &'static str = "release";
    const WHOLE: bool = ReleaseController::WHOLE;

    fn watches(&self, watches: Watches<App>) -> Watches<App> {
        self.world.controller.watches(watches)
    }

    fn cache(&self) -> &Cache<App> {
        self.world.controller.cache()
    }

    async fn reconcile(&self, app: Arc<App>) -> Result<Outcome, Error> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.world.controller.reconcile(app).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_says_of_a_release_does_not_wake_it() {
    let counted = Arc::new(Counted {
        world: World::new(),
        looks: AtomicUsize::new(0),
    });
    let stop = CancellationToken::new();
    let wiring = Wiring {
        client: counted.world.fake.client(),
        caches: counted.world.controller.caches.clone(),
        namespaces: Vec::new(),
        events: counted.world.controller.events.clone(),
        meters: Meters::new("").controllers,
        stop: stop.clone(),
        unsynced: watch::channel(Vec::new()).0,
    };
    let steps = async {
        let world = &counted.world;
        let app = serde_json::to_value(&world.app).unwrap();
        assert!(counted.looks_after(|world| world.fake.put(APP, app)).await > 0);
        for (available, ready) in [(1, "True"), (0, "False"), (1, "True")] {
            let looks = counted.looks_after(|world| world.pods(available)).await;
            assert!(world.ready().starts_with(ready), "{}", world.ready());
            assert_eq!(looks, 1, "{}", world.ready());
        }
        let deleted = counted.looks_after(|world| world.fake.remove(RELEASE));
        assert_eq!(deleted.await, 1);
        stop.cancel();
    };
    let (caches, client) = (wiring.caches.clone(), wiring.client.clone());
    let both = Box::pin(futures::future::join(
        run(Arc::clone(&counted), wiring),
        steps,
    ));
    tokio::select! {
        () = caches.fill(&client, &[]) => {}
        _ = both => {}
    }
}
