//! Checks that the kubelet cannot ask by itself: the prober's, in the App's own pods.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::ListParams};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, ReleasePhase},
};
use slipway_tests::{
    app::{READY, SOON, release_phase, says},
    case, wait,
};

use slipway_tests::app::image_app;

#[test]
fn what_an_answer_has_to_say_is_checked_in_the_pod() {
    case::run("prober", |case| async move {
        // The body of /host is the header that was sent.
        let checks = |content: &str, attempts: u32| {
            format!(
                "  checks:
    web:
      - type: startup
        path: /host
        httpHeaders: [{{name: Host, value: shop.example.com}}]
        content: {content}
        attempts: {attempts}
        wait: 1
      - {{type: readiness, path: /, content: from an image, attempts: 2, wait: 1}}
      - {{type: liveness, command: [sh, -c, '! test -e /tmp/ill'], attempts: 2, wait: 1}}
"
            )
        };
        case.apply(&image_app(&case, "hello", &checks("shop.example.com", 60)).await?)
            .await?;
        case.released("hello", "hello-v1").await?;
        let pods = case.api::<Pod>();
        let ours = ListParams::default().labels("slipway.dev/release=1");
        let pod = pods.list(&ours).await?.items.pop().context("a pod")?;
        let before = restarts(&pod);
        ensure!(before == 0, "its checks fail now and then");

        case.kubectl(&["exec", "deployment/hello-web", "--", "touch", "/tmp/ill"])
            .await?;
        let again = |pod: &Pod| restarts(pod) > before;
        wait::until(&pods, &pod.name_any(), SOON, "restarted", again).await?;
        case.ready("hello").await?;
        case.answer("hello").await?;

        let wrong = image_app(&case, "hello", &checks("nobody-says-this", 10)).await?;
        case.apply(&wrong).await?;
        case.release_until("hello", READY, "failed", |r| {
            r.spec.number == 2 && release_phase(r) == ReleasePhase::Failed
        })
        .await?;
        let told = |a: &App| says(a, types::READY).starts_with("False ChecksFailed");
        let app = case.app_until("hello", SOON, "told", told).await?;
        let message = says(&app, types::READY);
        for part in [
            "/host answered with 2xx with \"nobody-says-this\" in the body",
            "Came back: unable to find expected content in response body",
        ] {
            ensure!(message.contains(part), "no {part:?} in {message}");
        }
        Result::Ok(())
    });
}

/// Who has a liveness check alone says nothing of how long a start may take.
#[test]
fn a_liveness_check_lets_what_starts_slowly_start() {
    case::run("liveness", |case| async move {
        let slow = "  processes: {web: {command: 'sleep 20; exec python3 -u /server.py'}}
  checks: {web: [{type: liveness, path: /}]}
";
        case.apply(&image_app(&case, "hello", slow).await?).await?;
        case.released("hello", "hello-v1").await?;
        case.answer("hello").await?;
        let pods = case.api::<Pod>().list(&ListParams::default()).await?;
        let restarts: Vec<i32> = pods.iter().map(restarts).collect();
        ensure!(restarts == [0], "restarts of its pods: {restarts:?}");
        Result::Ok(())
    });
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.iter().flat_map(|s| &s.container_statuses);
    containers.flatten().map(|c| c.restart_count).sum()
}
