//! Zero failed requests: while code is deployed, configuration changes, a check fails, an App gets smaller and goes. The
//! process is `npm start`, which starts a shell, which starts the server.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use slipway_crds::v1alpha1::ReleasePhase;
use slipway_tests::{
    app::{READY, SOON, release_phase, serves},
    case::{self, Case},
    fixtures,
    load::Load,
    wait,
};

use slipway_tests::app::git_app;

#[test]
fn no_request_fails_with_one_replica_or_two() {
    case::run_alone("traffic", |case| async move {
        let one = scenario(&case, "one", 1);
        let two = scenario(&case, "two", 2);
        futures::try_join!(one, two)?;
        Ok(())
    });
}

async fn scenario(case: &Case, app: &str, replicas: u32) -> Result<()> {
    let repository = fixtures::repository(&format!("{}-{app}", case.namespace), "node")?;
    let spec = |env: &str, check: &str| {
        let app = git_app(app, &repository.url);
        format!(
            "{app}  processes: {{web: {{replicas: {replicas}}}}}
  env: [{env}]
  checks: {{web: [{{type: startup, wait: 1, {check}}}]}}
"
        )
    };
    let good = "path: /healthz, attempts: 60";
    case.apply(&spec("", good)).await?;
    case.released(app, &format!("{app}-v1")).await?;
    let client = fixtures::image(&case.cluster, "web")?;
    let load = Load::start(case, app, &client).await?;

    repository.write("greeting.txt", "new code\n")?;
    repository.commit("new code")?;
    case.released(app, &format!("{app}-v2")).await?;

    let changed = "{name: GREETING, value: new config}";
    case.apply(&spec(changed, good)).await?;
    case.released(app, &format!("{app}-v3")).await?;

    let unseen = "{name: GREETING, value: must not be seen}";
    let bad = "path: /nowhere, attempts: 10";
    case.apply(&spec(unseen, bad)).await?;
    case.release_until(app, READY, "failed", |r| {
        r.spec.number == 4 && release_phase(r) == ReleasePhase::Failed
    })
    .await?;
    // Failed is said first; the way back is gone to its end.
    case.pods_gone(app, 4).await?;
    ensure!(
        serves(&case.api().get(app).await?, &format!("{app}-v3")),
        "v3 serves on"
    );

    if replicas > 1 {
        case.kubectl(&["scale", "app", app, "--replicas=1"]).await?;
        wait::until(
            &case.api::<Deployment>(),
            &format!("{app}-web"),
            SOON,
            "of one pod",
            |d| d.status.as_ref().and_then(|s| s.replicas) == Some(1),
        )
        .await?;
        // The other pod is out of the Service by then, and has to end what it has.
        case.pods_left(app, 1).await?;
    }

    let counts = load.stop(case).await?;
    case.say(&format!(
            "{replicas} replica(s): {} kept, {} fresh, {} reopened, {} failed in {:.0} s ({:.0} a second, the slowest {:.1} s)",
            counts.kept, counts.fresh, counts.reopened, counts.failed, counts.seconds, counts.rate(), counts.slowest
        ));
    ensure!(counts.failed == 0, "{counts:?}");
    ensure!(counts.slowest < 5.0, "a request waited: {counts:?}");
    ensure!(counts.rate() >= 50.0, "too little load: {counts:?}");
    for body in ["Hello from node", "new code", "new config"] {
        let seen = counts.bodies.keys().any(|b| b.contains(body));
        ensure!(seen, "{body:?} was never answered: {counts:?}");
    }
    let seen = counts.bodies.keys().any(|b| b.contains("must not be seen"));
    ensure!(!seen, "the failed release was answered from: {counts:?}");

    // What is under way when the App is deleted is answered.
    let slow = case.cluster.get(&case.namespace, app, "/slow");
    let delete = async {
        wait::until_true(SOON, "answering slowly", || async {
            let busy = case.cluster.get(&case.namespace, app, "/busy").await?;
            Ok((busy.body == "1").then_some(()))
        })
        .await?;
        case.kubectl(&["delete", "app", app, "--wait=false"]).await
    };
    let (slow, deleted) = futures::join!(slow, delete);
    deleted?;
    let slow = slow?;
    ensure!(
        slow.status == 200 && slow.body == "slow, and whole",
        "{slow:?}"
    );
    Ok(())
}
