//! Numbers of pods: the App's, where it names one, else whoever's who scales the Deployment.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use anyhow::{Result, ensure};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use slipway_crds::v1alpha1::App;
use slipway_tests::{
    app::SOON,
    case::{self, Case},
    wait,
};

use slipway_tests::app::image_app;

/// Who scales is `kubectl`, through the same subresource as an autoscaler.
#[test]
fn what_a_scaler_sets_stays_and_is_taken_over_and_given_back_without_a_dip() {
    case::run("scaler", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        let greeting = |word: &str| format!("{app}  env: [{{name: GREETING, value: {word}}}]\n");
        case.apply(&greeting("one")).await?;
        case.released("hello", "hello-v1").await?;
        scale(&case, "deployment/hello-web", 3).await?;
        run(&case, 3).await?;
        let lowest = Lowest::watch(case.api());
        let told = |app: &App| {
            let notes = app.status.iter().flat_map(|s| &s.notes);
            notes
                .into_iter()
                .any(|n| n.contains("web is scaled by kubectl"))
        };
        case.app_until("hello", SOON, "told who scales", told)
            .await?;

        case.apply(&greeting("two")).await?;
        case.released("hello", "hello-v2").await?;
        run(&case, 3).await?;
        // The App takes over, and names nothing any more.
        scale(&case, "app/hello", 4).await?;
        run(&case, 4).await?;
        let unnamed = r#"[{"op":"remove","path":"/spec/processes/web/replicas"}]"#;
        case.kubectl(&["patch", "app", "hello", "--type=json", "--patch", unnamed])
            .await?;
        case.apply(&greeting("three")).await?;
        case.released("hello", "hello-v3").await?;
        run(&case, 4).await?;
        let (asked, ready) = lowest.seen();
        ensure!(asked >= 3, "{asked} were asked for in between");
        ensure!(ready >= 3, "{ready} were ready in between");

        // And the other way, down to none.
        for number in [1, 0] {
            scale(&case, "deployment/hello-web", number).await?;
            run(&case, number).await?;
        }
        case.look_again("hello").await?;
        run(&case, 0).await?;
        scale(&case, "app/hello", 1).await?;
        run(&case, 1).await?;
        ensure!(
            case.releases("hello").await?.len() == 3,
            "a release too many"
        );
        Result::Ok(())
    });
}

async fn scale(case: &Case, what: &str, number: i32) -> Result<()> {
    let replicas = format!("--replicas={number}");
    case.kubectl(&["scale", what, &replicas]).await.map(drop)
}

/// Waits until so many are asked for, and run.
async fn run(case: &Case, number: i32) -> Result<()> {
    let runs = |deployment: &Deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        deployment.spec.as_ref().and_then(|s| s.replicas) == Some(number)
            && status.observed_generation == deployment.metadata.generation
            && status.replicas.unwrap_or_default() == number
            && status.ready_replicas.unwrap_or_default() == number
    };
    let what = format!("at {number} pods");
    wait::until(&case.api::<Deployment>(), "hello-web", SOON, &what, runs)
        .await
        .map(drop)
}

/// The lowest numbers that a watch shows: asked for, and ready.
struct Lowest {
    asked: Arc<AtomicI32>,
    ready: Arc<AtomicI32>,
    watch: tokio::task::JoinHandle<()>,
}

impl Lowest {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test ends it, and takes what it saw until then"
    )]
    fn watch(deployments: Api<Deployment>) -> Self {
        let asked = Arc::new(AtomicI32::new(i32::MAX));
        let ready = Arc::new(AtomicI32::new(i32::MAX));
        let lowest = (Arc::clone(&asked), Arc::clone(&ready));
        let watch = tokio::spawn(async move {
            let changes = watcher(deployments, watcher::Config::default())
                .default_backoff()
                .applied_objects();
            pin_mut!(changes);
            while let Some(change) = changes.next().await {
                let Ok(deployment) = change else { continue };
                let number = deployment.spec.and_then(|s| s.replicas).unwrap_or(1);
                lowest.0.fetch_min(number, Ordering::SeqCst);
                let status = deployment.status.unwrap_or_default();
                let number = status.ready_replicas.unwrap_or_default();
                lowest.1.fetch_min(number, Ordering::SeqCst);
            }
        });
        Self {
            asked,
            ready,
            watch,
        }
    }

    fn seen(self) -> (i32, i32) {
        self.watch.abort();
        (
            self.asked.load(Ordering::SeqCst),
            self.ready.load(Ordering::SeqCst),
        )
    }
}
