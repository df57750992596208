//! Roll-outs as the API server shows them, and what is made of them.

mod api;
mod kinds;
mod serving;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Pod},
    discovery::v1::EndpointSlice,
};
use serde_json::{Value, json};
use slipway_crds::{
    conditions::{Reason, types},
    v1alpha1::{CheckType, Release, ReleasePhase},
};

use crate::controllers::release::{
    blocked::given_up,
    error::Error,
    lines::Secrets,
    observe,
    rollout::{Verdict, evaluate},
    seen::Seen,
    status::{Finding, status, superseded},
    trouble::{Container, Trouble},
};
use slipway_k8s::{apply::ApplyError, ownership::NameTaken};

fn release() -> Release {
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "hello-v2", "namespace": "team", "generation": 1},
        "spec": {
            "app": {"name": "hello", "uid": "app"}, "number": 2, "cause": "new commit", "inputs": "i", "renderer": 1,
            "revision": "hello-r", "revisionId": "1f2e3d4c5b6a", "image": {"reference": "r@sha256:a"},
            "configSecret": "s", "port": 5000, "deadlines": {"deploy": "5m"}, "podSecurity": "Restricted",
            "processes": {
                "web": {"replicas": 2, "checks": [
                    {"type": "startup", "path": "/up", "scheme": "http", "port": 5000},
                    {"type": "readiness", "listening": true, "port": 5000},
                ]},
            },
        },
    }))
    .unwrap()
}

fn deployment(change: &Value) -> Deployment {
    let mut deployment = json!({
        "metadata": {"name": "hello-web", "uid": "d", "generation": 4, "labels": {"slipway.dev/process": "web"}},
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3},
    });
    merge(&mut deployment, change);
    serde_json::from_value(deployment).unwrap()
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn sets(old: i32, new: i32) -> Vec<ReplicaSet> {
    [("1", old), ("2", new)]
        .into_iter()
        .map(|(release, available)| {
            serde_json::from_value(json!({
                "metadata": {
                    "name": format!("hello-web-{release}"), "labels": {"slipway.dev/release": release},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello-web", "uid": "d"}],
                },
                "spec": {"selector": {}},
                "status": {"replicas": available, "availableReplicas": available},
            }))
            .unwrap()
        })
        .collect()
}

fn pod(status: Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "hello-web-2-x", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"slipway.dev/process": "web", "slipway.dev/release": "2"},
        },
        "spec": {"containers": [{"name": "web", "image": "registry:5000/hello@sha256:a",
            "resources": {"limits": {"memory": "64Mi"}}}]},
    });
    pod["status"] = status;
    serde_json::from_value(pod).unwrap()
}

fn container(more: &Value) -> Value {
    let mut container =
        json!({"name": "web", "image": "i", "imageID": "", "ready": false, "restartCount": 0});
    merge(&mut container, more);
    json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Ready", "status": "False"},
        ],
        "containerStatuses": [container],
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    container(&json!({"state": {"waiting": {"reason": reason, "message": message}}}))
}

fn event(reason: &str, message: &str, second: i64) -> Event {
    let time = Timestamp::from_second(1_767_225_600 + second)
        .unwrap()
        .to_string();
    serde_json::from_value(json!({
        "metadata": {}, "type": "Warning", "reason": reason, "message": message,
        "involvedObject": {"kind": "Pod", "uid": "p", "fieldPath": "spec.containers{web}"},
        "firstTimestamp": time, "lastTimestamp": time,
    }))
    .unwrap()
}

/// The verdict on one pod that is not ready, `seconds` after the roll-out began.
fn after(seconds: i64, pods: &[Pod], events: &[Event]) -> Verdict {
    look(seconds, &deployment(&json!({})), &sets(2, 0), pods, events)
}

fn look(
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    let secrets = Secrets::of(["hunter22"]);
    look_with(&secrets, seconds, deployment, sets, pods, events)
}

fn look_with(
    secrets: &Secrets,
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    look_at(&release(), secrets, seconds, deployment, sets, pods, events)
}

fn look_at(
    release: &Release,
    secrets: &Secrets,
    seconds: i64,
    deployment: &Deployment,
    sets: &[ReplicaSet],
    pods: &[Pod],
    events: &[Event],
) -> Verdict {
    let began = Timestamp::from_second(1_767_225_600).unwrap();
    evaluate(Seen {
        secrets,
        release,
        deployments: std::slice::from_ref(deployment),
        replica_sets: sets,
        pods,
        slices: None,
        events,
        started_at: began,
        now: began + jiff::SignedDuration::from_secs(seconds),
    })
}

fn failed(verdict: Verdict) -> Trouble {
    match verdict {
        Verdict::Failed(trouble) => trouble,
        other => panic!("not failed: {other:?}"),
    }
}

#[test]
fn a_release_serves_when_its_own_pods_are_available() {
    let whole = deployment(&json!({"status": {"replicas": 2}}));
    assert_eq!(look(9, &whole, &sets(0, 2), &[], &[]), Verdict::Serving);
    // An old pod that is still in the Service answers as well; that it stays is nothing against the new ones.
    let beside = deployment(&json!({}));
    assert_eq!(
        look(9, &beside, &sets(1, 2), &[], &[]),
        Verdict::Progressing {
            message: "the old pods of web leave".into(),
            after: std::time::Duration::from_secs(291),
        }
    );
    assert_eq!(look(300, &beside, &sets(1, 2), &[], &[]), Verdict::Serving);
    // Scaled down meanwhile, and scaled to none.
    let fewer = deployment(&json!({"spec": {"replicas": 1}, "status": {"replicas": 2}}));
    assert_eq!(look(9, &fewer, &sets(0, 2), &[], &[]), Verdict::Serving);
    // Two available pods of the old Release are not two of this one.
    assert!(matches!(
        look(9, &whole, &sets(2, 1), &[], &[]),
        Verdict::Progressing { .. }
    ));
    // What the deployment controller has not seen yet says nothing.
    let unseen = deployment(&json!({"metadata": {"generation": 5}, "status": {"replicas": 2}}));
    assert!(matches!(
        look(9, &unseen, &sets(0, 2), &[], &[]),
        Verdict::Progressing { .. }
    ));
    let none = deployment(
        &json!({"spec": {"replicas": 0}, "status": {"replicas": null, "updatedReplicas": null}}),
    );
    assert_eq!(look(9, &none, &sets(0, 0), &[], &[]), Verdict::Serving);
}

#[test]
fn nodes_get_time_to_follow_where_another_release_served() {
    let slices: Vec<EndpointSlice> = vec![
        serde_json::from_value(json!({"addressType": "IPv4", "endpoints": [
            {"addresses": ["10.0.0.7"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": "p"}},
        ]}))
        .unwrap(),
    ];
    let began = Timestamp::from_second(1_767_225_600).unwrap();
    let at = |seconds| began + jiff::SignedDuration::from_secs(seconds);
    let look = |number: i64, seconds: i64, slices: Option<&[EndpointSlice]>| {
        let mut release = release();
        release.spec.number = number;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "p", "labels": {"slipway.dev/process": "web", "slipway.dev/release": number.to_string()}},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(10)}]},
        }))
        .unwrap();
        evaluate(Seen {
            secrets: &Secrets::Unknown,
            release: &release,
            deployments: &[deployment(&json!({"status": {"replicas": 2}}))],
            replica_sets: &sets(2, 2),
            pods: &[pod],
            slices,
            events: &[],
            started_at: began,
            now: at(seconds),
        })
    };
    let slices = Some(slices.as_slice());
    assert_eq!(
        look(2, 11, slices),
        Verdict::Progressing {
            message: "waits until the Service sends requests to hello-v2 alone".into(),
            after: std::time::Duration::from_secs(2),
        }
    );
    assert_eq!(look(2, 13, slices), Verdict::Serving);
    // Nobody sent requests to another one, or there is no Service.
    assert_eq!(look(1, 11, slices), Verdict::Serving);
    assert_eq!(look(2, 11, None), Verdict::Serving);
}

#[test]
fn a_release_serves_when_the_service_sends_requests_to_it_alone() {
    let release = release();
    let slices = |uids: &[&str]| -> Vec<EndpointSlice> {
        let endpoints = uids.iter().map(|uid| {
            json!({"addresses": ["10.0.0.7"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": uid}})
        });
        let endpoints: Vec<Value> = endpoints.collect();
        let slice = json!({"addressType": "IPv4", "endpoints": endpoints});
        vec![serde_json::from_value(slice).unwrap()]
    };
    // That one of its pods is in trouble is nothing as long as there are enough others.
    let pods = [pod(waiting("InvalidImageName", ""))];
    let began = Timestamp::from_second(1_767_225_600).unwrap();
    let look = |seconds: i64, deployment: &Deployment, uids: &[&str]| {
        evaluate(Seen {
            secrets: &Secrets::Unknown,
            release: &release,
            deployments: std::slice::from_ref(deployment),
            replica_sets: &sets(0, 2),
            pods: &pods,
            slices: Some(&slices(uids)),
            events: &[],
            started_at: began,
            now: began + jiff::SignedDuration::from_secs(seconds),
        })
    };
    let waits = |message: &str| Verdict::Progressing {
        message: message.into(),
        after: std::time::Duration::from_secs(291),
    };
    let late = waits("waits until the Service sends requests to hello-v2 alone");
    let whole = deployment(&json!({"status": {"replicas": 2}}));
    assert_eq!(look(9, &whole, &["p"]), Verdict::Serving);
    for uids in [["old"].as_slice(), &["p", "old"], &[]] {
        assert_eq!(look(9, &whole, uids), late);
        assert_eq!(look(300, &whole, uids), Verdict::Serving);
    }
    let beside = deployment(&json!({}));
    assert_eq!(
        look(9, &beside, &["p", "old"]),
        waits("the old pods of web leave")
    );
    let none = deployment(
        &json!({"spec": {"replicas": 0}, "status": {"replicas": 0, "updatedReplicas": 0}}),
    );
    assert_eq!(look(9, &none, &[]), Verdict::Serving);
    assert_eq!(look(9, &none, &["old"]), late);
    // The Service is not in front of it.
    let worker = deployment(&json!({
        "metadata": {"labels": {"slipway.dev/process": "worker"}}, "status": {"replicas": 2},
    }));
    assert_eq!(look(9, &worker, &["old"]), Verdict::Serving);
}

#[test]
fn progress_says_how_many_are_ready_and_looks_again_at_the_deadline() {
    assert_eq!(
        after(60, &[], &[]),
        Verdict::Progressing {
            message: "0 of 2 web ready for as long as its checks ask".into(),
            after: std::time::Duration::from_mins(4),
        }
    );
}

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
        // Since the first second, and once more now.
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
        // Its time begins with the first complaint, however old the pod is.
        (100, waiting("ErrImagePull", ""), vec![(91, not_found)]),
        // A registry that is away, or refuses, may be right again as long as the Release has time.
        (290, waiting("ImagePullBackOff", ""), vec![(1, timeout)]),
        (290, waiting("ErrImagePull", ""), vec![(1, unauthorised)]),
        (290, waiting("ImagePullBackOff", ""), vec![(1, denied)]),
        (100, config_error(), vec![(71, no_secret)]),
        // Another trouble before it does not count.
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
    // Tries that are left are left.
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

/// Where no startup check is, a process has started once its liveness check passes.
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
    // Who has no source can change the port that is asked, not the one that is listened on.
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
    // One without a limit ran its node out of memory.
    let mut unlimited = pod(container(&json!({
        "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    })));
    unlimited.spec.as_mut().unwrap().containers[0].resources = None;
    let message = told(&release(), unlimited, &[]);
    assert!(message.contains("its node has none left"), "{message}");
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

#[test]
fn at_the_deadline_the_best_explanation_is_given() {
    let running = || container(&json!({"state": {"running": {}}}));
    let refused = "Readiness probe failed: dial tcp 10.0.0.7:5000: connect: connection refused";
    let unscheduled = |message: &str| json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": message}]});
    for (status, events, reason, part) in [
        (
            running(),
            vec![event("Unhealthy", refused, 9)],
            Reason::ChecksFailed,
            "something listening on port 5000. Came back: dial tcp 10.0.0.7:5000: connect: connection refused. Listen on 0.0.0.0",
        ),
        (
            unscheduled("0/1 nodes are available: 1 Insufficient memory"),
            vec![],
            Reason::Unschedulable,
            "Insufficient memory",
        ),
        (
            unscheduled("pod has unbound immediate PersistentVolumeClaims"),
            vec![],
            Reason::StoragePending,
            "kubectl describe pvc",
        ),
        (
            waiting("ContainerCreating", ""),
            vec![event("FailedMount", "MountVolume.SetUp failed", 9)],
            Reason::ContainerFailed,
            "FailedMount: MountVolume.SetUp failed",
        ),
        (
            running(),
            vec![],
            Reason::DeadlineExceeded,
            "only 0 of 2 web ready",
        ),
    ] {
        assert!(matches!(
            after(299, &[pod(status.clone())], &events),
            Verdict::Progressing { .. }
        ));
        let trouble = failed(after(300, &[pod(status)], &events));
        assert_eq!(trouble.reason, reason, "{}", trouble.message);
        assert!(trouble.message.contains(part), "{}", trouble.message);
        assert!(trouble.message.contains("after 5m"), "{}", trouble.message);
    }
}

#[test]
fn pods_that_may_not_be_made_are_explained() {
    let refused = |message: &str| {
        deployment(&json!({"status": {"updatedReplicas": 0, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message},
        ]}}))
    };
    let security = refused(
        "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
    );
    let trouble = failed(look(1, &security, &sets(2, 0), &[], &[]));
    assert!(
        trouble.message.contains("spec.podSecurity"),
        "{}",
        trouble.message
    );
    let quota = refused("pods \"x\" is forbidden: exceeded quota: q");
    assert!(matches!(
        look(100, &quota, &sets(2, 0), &[], &[]),
        Verdict::Progressing { .. }
    ));
    assert!(
        failed(look(301, &quota, &sets(2, 0), &[], &[]))
            .message
            .contains("exceeded quota")
    );
}

#[test]
fn pods_of_other_releases_and_pods_that_go_are_not_looked_at() {
    let mut old = pod(waiting("InvalidImageName", ""));
    old.metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("slipway.dev/release".into(), "1".into());
    let mut going = pod(waiting("InvalidImageName", ""));
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    // A Job's, which runs no process.
    let mut job = pod(waiting("InvalidImageName", ""));
    job.metadata
        .labels
        .as_mut()
        .unwrap()
        .remove("slipway.dev/process");
    assert!(matches!(
        after(9, &[old, going, job], &[]),
        Verdict::Progressing { .. }
    ));
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_status_follows_the_release_and_its_own_output_changes_nothing() {
    let trouble = Trouble {
        reason: Reason::ChecksFailed,
        message: "web: its startup check failed".into(),
        process: Some("web".into()),
        container: None,
    };
    let newer = Release {
        metadata: kube::core::ObjectMeta {
            name: Some("hello-v3".into()),
            ..Default::default()
        },
        ..release()
    };
    let lines = ["last words".to_owned()];
    for (finding, phase, expected) in [
        (
            Finding::Deploying("0 of 2 web"),
            ReleasePhase::Deploying,
            vec![("Ready", "Deploying"), ("Reconciling", "Progressing")],
        ),
        (
            Finding::Serving,
            ReleasePhase::Serving,
            vec![("Ready", "Deployed")],
        ),
        (
            Finding::Failed(&trouble, &lines),
            ReleasePhase::Failed,
            vec![("Ready", "ChecksFailed"), ("Stalled", "ChecksFailed")],
        ),
        (
            Finding::Superseded(&newer),
            ReleasePhase::Superseded,
            vec![("Ready", "Superseded")],
        ),
        (
            Finding::Blocked {
                reason: Reason::NameTaken,
                message: "taken",
                stalled: true,
            },
            ReleasePhase::Pending,
            vec![("Ready", "NameTaken"), ("Stalled", "NameTaken")],
        ),
        (
            Finding::Blocked {
                reason: Reason::TemporaryFailure,
                message: "exceeded quota",
                stalled: false,
            },
            ReleasePhase::Pending,
            vec![
                ("Ready", "TemporaryFailure"),
                ("Reconciling", "TemporaryFailure"),
            ],
        ),
    ] {
        let mut release = release();
        let first = status(&release, &finding, at(100));
        assert_eq!(first.phase, phase);
        let conditions: Vec<_> = first
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.reason.as_str()))
            .collect();
        assert_eq!(conditions, expected);
        assert!(
            first.conditions.iter().all(|c| c.type_ != types::READY
                || (c.status == "True") == (phase == ReleasePhase::Serving))
        );
        release.status = Some(first.clone());
        assert_eq!(status(&release, &finding, at(200)), first, "{finding:?}");
    }
}

#[test]
fn a_release_whose_objects_are_refused_is_given_up_but_not_one_that_serves() {
    let refused = |code: u16| {
        let status = kube::core::Status::failure("no, said the webhook", "").with_code(code);
        Error::from(ApplyError::Api {
            kind: "Deployment".into(),
            name: "hello-web".into(),
            source: Box::new(kube::Error::Api(status.boxed())),
        })
    };
    let taken = Error::from(ApplyError::NameTaken(NameTaken {
        kind: "Service".into(),
        name: "hello".into(),
        owner: "is not this App's".into(),
    }));
    let given_up = |release: &Release, error: &Error, second| {
        assert!(error.is_told());
        given_up(release, error, at(second)).map(|trouble| (trouble.reason, trouble.message))
    };
    let said = "cannot write Deployment hello-web: no, said the webhook";
    let mut release = release();
    assert_eq!(
        given_up(&release, &refused(422), 100),
        Some((Reason::InvalidSpec, said.into()))
    );
    let blocked = Finding::Blocked {
        reason: Reason::TemporaryFailure,
        message: said,
        stalled: false,
    };
    for code in [403, 500] {
        release.status = None;
        assert_eq!(given_up(&release, &refused(code), 100), None);
        release.status = Some(status(&release, &blocked, at(100)));
        release.status = Some(status(&release, &blocked, at(200)));
        assert_eq!(given_up(&release, &refused(code), 399), None);
        assert_eq!(
            given_up(&release, &refused(code), 400),
            Some((
                Reason::DeadlineExceeded,
                format!("{said} (given up after 5m)")
            ))
        );
    }
    assert_eq!(given_up(&release, &taken, 999), None);
    // When its objects are there, it has its whole time.
    assert_eq!(observe::started_at(&release, at(390)), at(390));
    release.status = Some(status(&release, &Finding::Serving, at(110)));
    assert_eq!(given_up(&release, &refused(422), 999), None);
    assert!(!refused(409).is_told() && !refused(429).is_told());
}

#[test]
fn an_older_release_that_runs_again_is_given_its_whole_time() {
    let mut old = release();
    old.status = Some(status(&old, &Finding::Deploying(""), at(100)));
    old.status = Some(status(&old, &Finding::Serving, at(110)));
    old.status = Some(status(&old, &Finding::Superseded(&release()), at(120)));
    let again = status(&old, &Finding::Deploying(""), at(500));
    assert_eq!(again.started_at.map(|t| t.0), Some(at(500)));
}

#[test]
fn the_one_that_serves_is_superseded_only_once_another_serves() {
    use ReleasePhase::{Deploying, Failed, Serving, Superseded};
    let of = |number: i64, phase: ReleasePhase| {
        let mut release = release();
        release.spec.number = number;
        release.status = Some(slipway_crds::v1alpha1::ReleaseStatus {
            phase,
            ..Default::default()
        });
        release
    };
    let releases = [
        of(1, Superseded),
        of(2, Serving),
        of(3, Failed),
        of(4, Deploying),
        of(5, Deploying),
    ];
    let numbers = |serves| -> Vec<i64> {
        superseded(&releases, &releases[4], serves)
            .map(|r| r.spec.number)
            .collect()
    };
    assert_eq!(numbers(false), [4]);
    assert_eq!(numbers(true), [2, 4]);
}
