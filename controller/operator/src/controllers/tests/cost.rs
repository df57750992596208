//! What an App costs: every request from its creation until it serves. The App and the Release controller run side by
//! side with their caches.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use slipway_crds::v1alpha1::ImageRevision;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    Wiring,
    app::{AppController, settings_of_test},
    caches::Caches,
    release::ReleaseController,
    run,
};
use slipway_k8s::events::Publisher;
use slipway_support::fake_api::Fake;
use slipway_telemetry::meters::Meters;

const APPS: &str = "/apis/slipway.dev/v1alpha1/namespaces/team/apps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/team/deployments";

/// An operator that was just started.
struct Operator {
    /// Records its requests.
    asks: Fake,
    /// The client for its watches.
    watches: Client,
    app: Arc<AppController>,
    release: Arc<ReleaseController>,
    wiring: Wiring,
}

impl Operator {
    fn new(cluster: &Fake) -> Self {
        let asks = Fake::sharing(cluster);
        let client = asks.client();
        let clock: slipway_k8s::clock::Clock =
            Arc::new(|| Timestamp::from_second(1_767_225_600).unwrap());
        let meters = Meters::new("");
        let mut wiring = Wiring {
            events: Publisher::new(client.clone(), "test".to_owned(), Arc::clone(&clock)),
            client,
            caches: Caches::default(),
            namespaces: Vec::new(),
            meters: meters.controllers,
            stop: CancellationToken::new(),
            unsynced: watch::channel(Vec::new()).0,
        };
        let app = AppController::of_test(&wiring, Arc::clone(&clock));
        let release = ReleaseController::new(&wiring, &settings_of_test(), clock, meters.deploys);
        let watches = Fake::sharing(cluster).client();
        wiring.client = watches.clone();
        Self {
            asks,
            watches,
            app: Arc::new(app),
            release: Arc::new(release),
            wiring,
        }
    }

    /// Runs while `what` goes on.
    async fn during(&self, what: impl Future<Output = ()>) {
        let controllers = Box::pin(futures::future::join(
            run(Arc::clone(&self.app), self.wiring.clone()),
            run(Arc::clone(&self.release), self.wiring.clone()),
        ));
        tokio::select! {
            _ = controllers => {}
            () = self.wiring.caches.fill(&self.watches, &[]) => {}
            () = what => {}
        }
    }

    /// Method and kind of every request so far.
    fn requests(&self) -> Vec<String> {
        let asked = self.asks.asked().into_iter();
        let kind = |request: String| {
            let (method, path) = request.split_once(' ').unwrap();
            let path = path.split('?').next().unwrap();
            let (_, within) = path.split_once("/namespaces/team/").unwrap();
            let mut parts = within.split('/');
            let (kind, _, sub) = (parts.next().unwrap(), parts.next(), parts.next());
            let sub = sub.map(|sub| format!("/{sub}")).unwrap_or_default();
            format!("{method} {kind}{sub}")
        };
        asked.map(kind).collect()
    }
}

/// The clock stands still while anything is left to do.
async fn settled() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

fn app(name: &str) -> Value {
    json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
        "metadata": {"name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "generation": 1},
        "spec": {"source": {"image": {"reference": "registry/hello:1"}}, "processes": {"web": {"replicas": 0}}},
    })
}

fn image() -> ImageRevision {
    ImageRevision {
        reference: "registry/hello:1".to_owned(),
        resolved: format!("registry/hello@sha256:{}", "a".repeat(64)),
        port: Some(8080),
        user: Some("1000".to_owned()),
        ..ImageRevision::default()
    }
}

/// What the deployment controller reports about every Deployment.
fn deploy(cluster: &Fake) {
    for mut deployment in cluster.objects(DEPLOYMENTS) {
        let name = deployment["metadata"]["name"].as_str().unwrap().to_owned();
        deployment["status"] = json!({"observedGeneration": deployment["metadata"]["generation"]});
        cluster.put(&format!("{DEPLOYMENTS}/{name}"), deployment);
    }
}

fn ready(cluster: &Fake, name: &str) -> String {
    let app = cluster.object(&format!("{APPS}/{name}")).unwrap();
    let conditions = app["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    ready.map_or_else(String::new, |c| {
        format!("{} {}", c["status"], c["reason"]).replace('"', "")
    })
}

#[tokio::test(start_paused = true)]
async fn an_app_takes_as_many_requests_as_it_has_objects_and_steps_and_then_none() {
    let cluster = Fake::default();
    let operator = Operator::new(&cluster);
    let steps = async {
        settled().await;
        cluster.put(&format!("{APPS}/hello"), app("hello"));
        settled().await;
        assert_eq!(operator.app.answer(&image()), 1);
        settled().await;
        deploy(&cluster);
        settled().await;
    };
    operator.during(steps).await;
    assert_eq!(ready(&cluster, "hello"), "True Serving");
    let asked = [
        // Says that its image is being looked up, as that takes long.
        "PATCH apps/status",
        "POST revisions",
        "POST events",
        "POST secrets",
        "POST releases",
        "POST events",
        // Checks whether the names belong to somebody else.
        "GET serviceaccounts",
        "GET services",
        "PATCH serviceaccounts",
        "PATCH services",
        "PATCH releases/status",
        "POST events",
        "PATCH apps/status",
    ];
    assert_eq!(operator.requests(), asked);

    let again = Operator::new(&cluster);
    again.during(settled()).await;
    assert_eq!(again.requests(), [""; 0]);
    let kept = again.wiring.caches.bytes();
    assert!(kept < 3_500, "{kept} bytes");
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_all_that_is_there_is_looked_at_waits_for_a_few_of_them() {
    const THERE: usize = 300;
    let cluster = Fake::default();
    // Their status says so at once.
    let invalid = |name: &str| {
        let mut app = app(name);
        app["spec"]["source"] = json!({});
        app
    };
    for number in 0..THERE {
        let name = format!("app-{number:03}");
        cluster.put(&format!("{APPS}/{name}"), invalid(&name));
    }
    let operator = Operator::new(&cluster);
    operator.asks.answer_after(Duration::from_millis(100));
    let told = || {
        let is_status = |write: &String| write.ends_with("/status");
        cluster.writes().iter().filter(|w| is_status(w)).count()
    };
    let steps = async {
        while told() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.put(&format!("{APPS}/late"), invalid("late"));
        let before = told();
        while ready(&cluster, "late").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(told() - before < 100, "{} of {THERE}", told() - before);
        while told() <= THERE {
            settled().await;
        }
    };
    operator.during(steps).await;
}
