//! Roll-outs as the API server shows them, and the verdicts on them.

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, discovery::v1::EndpointSlice};
use serde_json::{Value, json};
use slipway_crds::conditions::Reason;

use crate::judge::{
    lines::Secrets,
    rollout::{Verdict, evaluate},
    seen::Seen,
    tests::{after, container, deployment, event, failed, look, pod, release, sets, waiting},
};

#[test]
fn a_release_serves_when_its_own_pods_are_available() {
    let whole = deployment(&json!({"status": {"replicas": 2}}));
    assert_eq!(look(9, &whole, &sets(0, 2), &[], &[]), Verdict::Serving);
    // An old pod that is still in the Service also answers; it does not make the new ones fail.
    let beside = deployment(&json!({}));
    assert_eq!(
        look(9, &beside, &sets(1, 2), &[], &[]),
        Verdict::Progressing {
            message: "the old pods of web leave".into(),
            after: std::time::Duration::from_secs(291),
        }
    );
    assert_eq!(look(300, &beside, &sets(1, 2), &[], &[]), Verdict::Serving);
    // Scaled down during the roll-out, or scaled to zero.
    let fewer = deployment(&json!({"spec": {"replicas": 1}, "status": {"replicas": 2}}));
    assert_eq!(look(9, &fewer, &sets(0, 2), &[], &[]), Verdict::Serving);
    // Two available pods of the old Release are not two of this one.
    assert!(matches!(
        look(9, &whole, &sets(2, 1), &[], &[]),
        Verdict::Progressing { .. }
    ));
    // A status from before the deployment controller has seen the latest version does not count.
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
    // There is no earlier Release, or no Service.
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
    // A pod in trouble does not matter as long as there are enough others.
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
    // The Service is not in front of the worker.
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
    // The pod of a Job, which runs no process.
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
