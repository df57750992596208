//! Checks that fail, and what is reported about them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::json;
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{CheckType, Release},
};

use crate::judge::{
    lines::Secrets,
    rollout::{Verdict, evaluate},
    seen::Seen,
    tests::{after, container, deployment, event, failed, look_at, look_with, pod, release, sets},
    trouble::{Container, Trouble},
};

#[test]
fn a_failed_startup_check_says_what_was_asked_and_what_came_back() {
    let events = [
        event(
            "Unhealthy",
            "Startup probe failed: HTTP probe failed with statuscode: 500",
            3,
        ),
        event(
            "Unhealthy",
            "Startup probe failed: HTTP probe failed with statuscode: 503",
            9,
        ),
        event(
            "Killing",
            "Container web failed startup probe, will be restarted",
            9,
        ),
    ];
    let running = container(&json!({"state": {"running": {}}}));
    let trouble = failed(after(20, &[pod(running)], &events));
    assert_eq!(
        trouble,
        Trouble {
            reason: Reason::ChecksFailed,
            message: "web: its startup check failed. Asked for: GET http://pod:5000/up answered with 2xx. Came back: HTTP probe failed with statuscode: 503".into(),
            process: Some("web".into()),
            container: Some(Container { pod: "hello-web-2-x".into(), name: "web".into(), previous: false }),
        }
    );
    // Attempts are left, so the check has not failed.
    let running = container(&json!({"state": {"running": {}}}));
    assert!(matches!(
        after(20, &[pod(running)], &events[..2]),
        Verdict::Progressing { .. }
    ));
}

#[test]
fn what_the_app_says_is_told_without_secrets() {
    let asked = event(
        "Unhealthy",
        "Startup probe failed: cannot reach postgres://app:hunter22@db",
        9,
    );
    let ended = event(
        "Killing",
        "Container web failed startup probe, will be restarted",
        9,
    );
    let running = container(&json!({"state": {"running": {}}}));
    let crashed = container(&json!({
        "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "cannot reach postgres://app:hunter22@db"}},
    }));
    for (status, events) in [(running, vec![asked, ended]), (crashed, vec![])] {
        let told = |secrets: &Secrets| {
            let (deployment, sets) = (deployment(&json!({})), sets(2, 0));
            let pods = [pod(status.clone())];
            failed(look_with(secrets, 20, &deployment, &sets, &pods, &events)).message
        };
        let message = told(&Secrets::of(["hunter22"]));
        assert!(
            message.contains("cannot reach postgres://app:[redacted]@db"),
            "{message}"
        );
        let message = told(&Secrets::Unknown);
        assert!(
            message.contains("not shown") && !message.contains("postgres"),
            "{message}"
        );
    }
}

#[test]
fn of_several_containers_the_one_whose_check_failed_is_told_of() {
    let mut status = container(&json!({"state": {"running": {}}}));
    let sidecar = json!({"name": "proxy", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let statuses = status["containerStatuses"].as_array_mut().unwrap();
    statuses.insert(0, sidecar);
    status["initContainerStatuses"] = json!([{
        "name": "slipway-prober", "image": "i", "imageID": "", "ready": true, "restartCount": 1,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
    }]);
    let failed_check = event(
        "Unhealthy",
        "Startup probe failed: GET /up: no \"ok\" in it",
        9,
    );
    let ended = event(
        "Killing",
        "Container web failed startup probe, will be restarted",
        9,
    );
    let web = Some(Container {
        pod: "hello-web-2-x".into(),
        name: "web".into(),
        previous: false,
    });
    let trouble = failed(after(
        20,
        &[pod(status.clone())],
        &[failed_check.clone(), ended],
    ));
    assert_eq!(
        (trouble.reason, &trouble.container),
        (Reason::ChecksFailed, &web)
    );
    let trouble = failed(after(300, &[pod(status)], &[failed_check]));
    assert_eq!(
        (trouble.reason, &trouble.container),
        (Reason::ChecksFailed, &web)
    );
}

/// Without a startup check, a process has started once its liveness check passes.
#[test]
fn a_process_that_was_never_alive_is_told_by_its_liveness_check() {
    let mut release = release();
    let web = release.spec.processes.get_mut("web").unwrap();
    web.checks.first_mut().unwrap().r#type = CheckType::Liveness;
    let events = [event(
        "Unhealthy",
        "Startup probe failed: HTTP probe failed with statuscode: 503",
        8,
    )];
    let status = container(&json!({"state": {"running": {}}}));
    let (secrets, deployment) = (Secrets::of(["hunter22"]), deployment(&json!({})));
    let pods = [pod(status)];
    let trouble = failed(look_at(
        &release,
        &secrets,
        300,
        &deployment,
        &sets(2, 0),
        &pods,
        &events,
    ));
    assert_eq!(
        trouble.message,
        "web: its liveness check has not passed once since it was started. Asked for: GET http://pod:5000/up answered with 2xx. Came back: HTTP probe failed with statuscode: 503 (given up after 5m)"
    );
}

#[test]
fn a_liveness_check_that_ends_a_container_again_and_again_is_a_failed_check() {
    let events = [
        event(
            "Unhealthy",
            "Liveness probe failed: command exited with code 1",
            8,
        ),
        event(
            "Killing",
            "Container web failed liveness probe, will be restarted",
            9,
        ),
    ];
    let restarted = |count: i32| {
        pod(container(&json!({
            "restartCount": count, "state": {"running": {}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "Error"}},
        })))
    };
    assert!(matches!(
        after(20, &[restarted(1)], &events),
        Verdict::Progressing { .. }
    ));
    let trouble = failed(after(60, &[restarted(3)], &events));
    assert_eq!(trouble.reason, Reason::ChecksFailed);
    assert!(
        trouble.message.contains("liveness check failed"),
        "{}",
        trouble.message
    );
    assert!(
        trouble
            .message
            .ends_with("Came back: command exited with code 1"),
        "{}",
        trouble.message
    );
}

#[test]
fn advice_is_what_its_reader_can_follow() {
    let began = Timestamp::from_second(1_767_225_600).unwrap();
    let told = |release: &Release, pod: Pod, events: &[Event]| {
        let verdict = evaluate(Seen {
            secrets: &Secrets::of([]),
            release,
            deployments: std::slice::from_ref(&deployment(&json!({}))),
            replica_sets: &sets(2, 0),
            pods: &[pod],
            slices: None,
            events,
            started_at: began,
            now: began + jiff::SignedDuration::from_secs(300),
        });
        failed(verdict).message
    };
    let running = || pod(container(&json!({"state": {"running": {}}})));
    let refused = [event(
        "Unhealthy",
        "Readiness probe failed: connection refused",
        9,
    )];
    // A user without the source can change the port that is probed, but not the one that the image listens on.
    let mut image = release();
    image.spec.image.external = true;
    for (release, part) in [
        (&release(), "at the port in $PORT"),
        (
            &image,
            "Name the port that the image listens on in spec.port: 5000 is asked now",
        ),
    ] {
        let message = told(release, running(), &refused);
        assert!(message.contains(part), "{message}");
    }
    // A container without a limit used up the memory of its node.
    let mut unlimited = pod(container(&json!({
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    })));
    unlimited.spec.as_mut().unwrap().containers[0].resources = None;
    let message = told(&release(), unlimited, &[]);
    assert!(message.contains("its node has none left"), "{message}");
}
