//! Roll-outs: what fails is said and undone; what is scaled or stored goes on.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, ReleasePhase},
};
use slipway_tests::{
    app::{READY, SOON, release_phase, says, serves},
    case::{self, Case},
    fixtures, wait,
};

use slipway_tests::app::image_app;

/// A check that gives up after so many attempts.
fn check(attempts: u32) -> String {
    format!(
        "  checks: {{web: [{{type: startup, path: /healthz, attempts: {attempts}, wait: 1, timeout: 2}}]}}\n"
    )
}

#[test]
fn a_failing_check_leaves_the_old_release_serving_and_says_what_came_back() {
    case::run("check", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        let good = format!("{app}{}", check(60));
        case.apply(&good).await?;
        case.released("hello", "hello-v1").await?;
        let before = case.answer("hello").await?;
        case.apply(&format!(
            "{app}{}  env: [{{name: BROKEN, value: 'on purpose'}}]\n",
            check(15)
        ))
        .await?;
        let failed = case
            .release_until("hello", READY, "failed", |r| {
                r.spec.number == 2 && release_phase(r) == ReleasePhase::Failed
            })
            .await?;
        let failure = failed.status.unwrap_or_default().failure.context("why")?;
        ensure!(failure.reason == "ChecksFailed", "{failure:?}");
        ensure!(
            failure.message.contains("/healthz"),
            "what was asked: {failure:?}"
        );
        ensure!(
            failure.message.contains("500"),
            "what came back: {failure:?}"
        );
        let undone = |app: &App| {
            serves(app, "hello-v1")
                && says(app, types::READY).starts_with("False ChecksFailed")
                && says(app, types::AVAILABLE).starts_with("True")
        };
        let app = case.app_until("hello", SOON, "back at v1", undone).await?;
        let message = says(&app, types::READY);
        ensure!(message.contains("/healthz"), "the App says why: {message}");
        // Failed is said first; the way back is gone to its end.
        case.pods_gone("hello", 2).await?;
        let story = ["Deployed", "ReleaseCreated", "ChecksFailed", "RolledBack"];
        case.tells("hello", &story).await?;
        let after = case.answer("hello").await?;
        ensure!(after == before, "{before} became {after}");
        case.apply(&good).await?;
        case.ready("hello").await?;
        Ok(())
    });
}

#[test]
fn an_app_that_crashes_at_its_start_is_told_with_its_last_lines() {
    case::run("crashing", |case| async move {
        let process = "  processes: {web: {command: \"echo the last words; exit 3\"}}\n  deadlines: {deploy: 1m}\n";
        let app = image_app(&case, "hello", process).await?;
        case.apply(&app).await?;
        let failed = case
            .release_until("hello", READY, "failed", |r| {
                release_phase(r) == ReleasePhase::Failed
            })
            .await?;
        let failure = failed.status.unwrap_or_default().failure.context("why")?;
        ensure!(
            failure
                .last_lines
                .iter()
                .any(|l| l.contains("the last words")),
            "{failure:?}"
        );
        let app = case
            .app_until("hello", SOON, "not available", |a| {
                says(a, types::AVAILABLE).starts_with("False")
            })
            .await?;
        ensure!(says(&app, types::READY).starts_with("False"));
        Ok(())
    });
}

/// Three Apps side by side, each with a trouble of its pods' own.
#[test]
fn what_is_wrong_with_its_pods_is_said_of_an_app() {
    case::run("trouble", |case| async move {
        let greedy = "  processes:
    web:
      command: exec python3 -c 'print(len(bytes(range(256)) * (1 << 20)))'
      resources: {limits: {memory: 64Mi}}
";
        let huge = "  processes: {web: {resources: {requests: {cpu: '1000'}}}}
  deadlines: {deploy: 20s}
";
        let image = fixtures::image_without_a_layer(&case.cluster, &case.namespace)?;
        let incomplete = format!(
            "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: incomplete}}
spec: {{source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}}}
"
        );
        case.apply(&image_app(&case, "greedy", greedy).await?)
            .await?;
        case.apply(&image_app(&case, "huge", huge).await?).await?;
        case.apply(&incomplete).await?;
        for (app, reason, parts) in [
            ("greedy", "OutOfMemory", ["processes.web", "limits.memory"]),
            (
                "huge",
                "Unschedulable",
                ["Insufficient cpu", "Ask for less"],
            ),
            (
                "incomplete",
                "ImagePullFailed",
                ["fixtures/incomplete@", "cannot be pulled"],
            ),
        ] {
            let failed = |a: &App| says(a, types::STALLED).contains(reason);
            let app = case.app_until(app, READY, reason, failed).await?;
            let message = says(&app, types::READY);
            for part in parts {
                ensure!(message.contains(part), "no {part:?} in {message}");
            }
        }
        Result::Ok(())
    });
}

#[test]
fn a_process_that_does_not_end_in_its_time_is_told_of() {
    case::run("cut-off", |case| async move {
        let deaf = "  processes:
    deaf: {replicas: 1, command: \"trap '' TERM; while :; do sleep 1; done\"}
    good: {replicas: 1, command: exec sleep 3600}
  deadlines: {stop: 6s}
";
        let app = image_app(&case, "hello", deaf).await?;
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        case.apply(&format!("{app}  env: [{{name: ROUND, value: two}}]\n"))
            .await?;
        case.released("hello", "hello-v2").await?;
        case.tells("hello", &["DeadlineExceeded"]).await?;
        let told = case.kubectl(&["describe", "app", "hello"]).await?;
        ensure!(
            told.contains("deaf of hello-v1 took all of its 6s to stop"),
            "{told}"
        );
        ensure!(!told.contains("good of hello-v1 took"), "{told}");
        Result::Ok(())
    });
}

#[test]
fn an_app_is_scaled_without_a_release() {
    case::run("scale", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        case.kubectl(&["scale", "app/hello", "--replicas=3"])
            .await?;
        let deployments = case.api::<Deployment>();
        let three = |d: &Deployment| {
            let status = d.status.clone().unwrap_or_default();
            status.ready_replicas == Some(3)
        };
        wait::until(&deployments, "hello-web", SOON, "three pods", three).await?;
        let counted = |app: &App| app.status.as_ref().and_then(|s| s.replicas) == Some(3);
        case.app_until("hello", SOON, "at three replicas", counted)
            .await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "hello from an image", "{body}");
        ensure!(case.releases("hello").await?.len() == 1, "a second release");
        Ok(())
    });
}

#[test]
fn what_a_claim_holds_survives_a_deploy_and_the_app() {
    case::run("storage", |case| async move {
        let storage = "  storage:
    - {name: data, mountPath: /data, claimTemplate: {size: 16Mi}}
    - {name: scratch, mountPath: /scratch, claimTemplate: {size: 16Mi, reclaimPolicy: Delete}}
";
        let app = image_app(&case, "hello", storage).await?;
        let env = |greeting: &str| {
            format!(
                "{app}  env: [{{name: DATA, value: /data}}, {{name: GREETING, value: {greeting}}}]\n"
            )
        };
        case.apply(&env("one")).await?;
        case.released("hello", "hello-v1").await?;
        let lines = append(&case).await?;
        ensure!(lines.contains("1 lines"), "{lines}");
        case.apply(&env("two")).await?;
        case.released("hello", "hello-v2").await?;
        case.answers_with("hello", "/", "two").await?;
        let lines = append(&case).await?;
        ensure!(lines.contains("2 lines"), "{lines}");
        let notes = case.ready("hello").await?.status.unwrap_or_default().notes;
        ensure!(
            !notes.is_empty(),
            "status says that it is replaced, not rolled"
        );
        case.kubectl(&["delete", "app", "hello", "--wait=true"])
            .await?;
        wait::until_gone(&case.api::<Deployment>(), "hello-web", SOON).await?;
        let claims = case.api::<PersistentVolumeClaim>();
        wait::until_gone(&claims, "hello-scratch", SOON).await?;
        let claim = claims.get("hello-data").await?;
        ensure!(
            claim.metadata.deletion_timestamp.is_none(),
            "the claim goes"
        );
        case.apply(&env("three")).await?;
        case.answers_with("hello", "/", "three").await?;
        ensure!(case.answer_at("hello", "/lines").await?.contains("2 lines"));
        Result::Ok(())
    });
}

/// Adds a line, by one request: asked again, it would add another.
async fn append(case: &Case) -> Result<String> {
    case.answer("hello").await?;
    let asked = case.cluster.get(&case.namespace, "hello", "/append");
    let answer = asked.await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.body)
}
