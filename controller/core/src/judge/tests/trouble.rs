//! Pods in trouble, whether it passes, and what is reported.

use k8s_openapi::api::core::v1::Event;
use serde_json::json;
use slipway_crds::conditions::Reason;

use crate::judge::{
    rollout::Verdict,
    tests::{after, container, event, failed, pod, waiting},
};

#[test]
fn trouble_that_does_not_pass_fails_at_once() {
    let crashed = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    let back_off = container(&json!({
        "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": crashed,
    }));
    let oom = container(&json!({
        "restartCount": 1, "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }));
    let root = "container has runAsNonRoot and image will run as root (pod: x)";
    let named = "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root";
    for (seconds, status, complaints, reason, part) in [
        (
            2,
            back_off,
            [].as_slice(),
            Reason::CrashLoop,
            "ended with code 3",
        ),
        (
            2,
            oom,
            &[],
            Reason::OutOfMemory,
            "the limit is 64Mi; raise spec.processes.web.resources.limits.memory",
        ),
        (
            1,
            waiting("CreateContainerConfigError", root),
            &[],
            Reason::RootRequired,
            "spec.podSecurity: Baseline",
        ),
        (
            1,
            waiting("CreateContainerConfigError", named),
            &[],
            Reason::RootRequired,
            "by name",
        ),
        (
            1,
            waiting("InvalidImageName", "x"),
            &[],
            Reason::ImagePullFailed,
            "registry:5000/hello@sha256:a",
        ),
        (
            11,
            waiting("ErrImagePull", "x: not found"),
            &["Failed to pull image \"x\": x: not found"],
            Reason::ImagePullFailed,
            "not found",
        ),
        (
            31,
            waiting("CreateContainerConfigError", "secret \"s\" not found"),
            &["Error: secret \"s\" not found"],
            Reason::ContainerFailed,
            "secret",
        ),
    ] {
        // Seen in the first second, and once more now.
        let events = complaints
            .iter()
            .flat_map(|message| [1, seconds].map(|second| event("Failed", message, second)));
        let events: Vec<Event> = events.collect();
        let trouble = failed(after(seconds, &[pod(status)], &events));
        assert_eq!(trouble.reason, reason);
        assert!(
            trouble.message.starts_with("web: ") && trouble.message.contains(part),
            "{}",
            trouble.message
        );
        assert_eq!(trouble.process.as_deref(), Some("web"));
    }
}

#[test]
fn of_a_long_chain_of_causes_the_end_is_said() {
    let long = format!(
        "Failed to pull image \"r:5000/x\": rpc error: code = NotFound desc = failed to pull and unpack image \"{}\": failed to resolve image: r:5000/x@sha256:a: not found",
        "x".repeat(900)
    );
    let status = waiting("ImagePullBackOff", "Back-off pulling image");
    let trouble = failed(after(13, &[pod(status)], &[event("Failed", &long, 3)]));
    assert!(
        trouble
            .message
            .contains("cannot be pulled: r:5000/x@sha256:a: not found. See"),
        "{}",
        trouble.message
    );
}

#[test]
fn trouble_that_may_pass_is_given_time() {
    let once = json!({"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}});
    let not_found = "Failed to pull image \"x\": x: not found";
    let timeout = "Failed to pull image \"x\": dial tcp: i/o timeout";
    let unauthorised = "Failed to pull image \"x\": unexpected status from HEAD request to https://r/v2/x: 401 Unauthorized";
    let denied = "Failed to pull image \"x\": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials";
    let no_secret = "Error: secret \"s\" not found";
    let config_error = || waiting("CreateContainerConfigError", "secret \"s\" not found");
    for (seconds, status, complaints) in [
        (100, waiting("ErrImagePull", "x: not found"), vec![]),
        // The time counts from the first complaint, however old the pod is.
        (100, waiting("ErrImagePull", ""), vec![(91, not_found)]),
        // A registry that is unavailable, or refuses, may recover as long as the Release has time.
        (290, waiting("ImagePullBackOff", ""), vec![(1, timeout)]),
        (290, waiting("ErrImagePull", ""), vec![(1, unauthorised)]),
        (290, waiting("ImagePullBackOff", ""), vec![(1, denied)]),
        (100, config_error(), vec![(71, no_secret)]),
        // An earlier trouble of another kind does not count.
        (
            100,
            waiting("ErrImagePull", ""),
            vec![(50, timeout), (91, not_found)],
        ),
        (
            100,
            config_error(),
            vec![(1, timeout), (1, "Error: ErrImagePull"), (71, no_secret)],
        ),
        (100, waiting("ContainerCreating", ""), vec![]),
        (100, container(&once), vec![]),
    ] {
        let events = complaints
            .into_iter()
            .map(|(second, message)| event("Failed", message, second));
        let events: Vec<Event> = events.collect();
        assert!(
            matches!(
                after(seconds, &[pod(status.clone())], &events),
                Verdict::Progressing { .. }
            ),
            "{status} {events:?}"
        );
    }
}

#[test]
fn a_registry_that_stays_away_is_told_apart_from_an_image_that_is_missing() {
    let timeout = "Failed to pull image \"x\": dial tcp: i/o timeout";
    let status = waiting("ImagePullBackOff", "Back-off");
    let trouble = failed(after(301, &[pod(status)], &[event("Failed", timeout, 1)]));
    assert_eq!(trouble.reason, Reason::RegistryUnavailable);
    assert!(
        trouble.message.contains("i/o timeout") && trouble.message.contains("given up after"),
        "{}",
        trouble.message
    );
}

#[test]
fn a_container_that_ended_once_is_not_said_to_have_ended_again() {
    let once = json!({"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}});
    let trouble = failed(after(300, &[pod(container(&once))], &[]));
    assert_eq!(trouble.reason, Reason::CrashLoop);
    assert!(
        trouble
            .message
            .starts_with("web: its container ended with code 1; "),
        "{}",
        trouble.message
    );
}
