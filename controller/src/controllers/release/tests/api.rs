//! The controller against a scripted API server: what it leaves alone, and what it tells.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use serde_json::{Value, json};
use slipway_crds::v1alpha1::{App, ReleaseSite};

use crate::{
    controllers::{
        Reconcile as _,
        release::{
            ReleaseController,
            departures::Departures,
            tests::{at, pod, release, waiting},
        },
    },
    desired::Site,
    domain::repository::Repositories,
    k8s::{events::Publisher, fake::Fake},
    settings::ServiceType,
    telemetry::meters::Meters,
};

const APPS: &str = "/apis/apps/v1/namespaces/team";
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
        let clock: crate::clock::Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || at(now.load(Ordering::SeqCst)))
        };
        let client = fake.client();
        let controller = ReleaseController {
            client: client.clone(),
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

    /// One reconcile; how much it wrote, Events left out.
    async fn look(&self) -> Vec<String> {
        let before = self.fake.writes().len();
        let app = Arc::new(self.app.clone());
        self.controller.reconcile(app).await.unwrap();
        let mut writes = self.fake.writes().split_off(before);
        writes.retain(|write| !write.contains("/events"));
        writes
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
                "name": "hello-web-1", "labels": {"slipway.dev/release": "1"},
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
    let mut pod = serde_json::to_value(pod(waiting("InvalidImageName", "x"))).unwrap();
    pod["metadata"]["labels"]["slipway.dev/release"] = json!("1");
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
