//! A Release that has served, as its pods come and go.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use slipway_crds::{
    conditions::{Reason, types},
    v1alpha1::{Release, ReleasePhase},
};

use crate::judge::{
    lines::Secrets,
    seen::Seen,
    serving::{Standing, evaluate, is_whole, told_lines},
    status::{Finding, status},
    tests::{at, container, deployment, pod, release, sets, waiting},
};

/// The time at which the pods of these tests begin.
const BEGAN: i64 = 1_767_225_600;

fn standing(release: &Release, wanted: i32, available: i32, pods: &[Pod], second: i64) -> Standing {
    let deployment = deployment(&json!({"spec": {"replicas": wanted}}));
    let sets = sets(0, available);
    evaluate(Seen {
        release,
        deployments: std::slice::from_ref(&deployment),
        replica_sets: &sets,
        pods,
        slices: None,
        events: &[],
        secrets: &Secrets::of([]),
        started_at: at(BEGAN + second),
        now: at(BEGAN + second),
    })
}

fn serving() -> Release {
    let mut release = release();
    release.status = Some(status(&release, &Finding::Serving, at(BEGAN)));
    release
}

/// A container that ended with code 3 this often. It became ready at this second, or is not ready.
fn restarted(times: i32, ready_since: Option<i64>, state: &Value) -> Pod {
    let mut status = container(&json!({
        "restartCount": times, "ready": ready_since.is_some(), "state": state,
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
    }));
    if let Some(second) = ready_since {
        let since = at(BEGAN + second).to_string();
        status["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    }
    pod(status)
}

fn running() -> Value {
    json!({"running": {}})
}

fn backing_off() -> Value {
    json!({"waiting": {"reason": "CrashLoopBackOff"}})
}

#[test]
fn a_release_is_down_when_nothing_of_a_process_is_there_or_what_is_missing_does_not_come_by_itself()
{
    let crashing = restarted(4, None, &backing_off());
    let scheduled = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"},
    ]});
    let starting = || pod(waiting("ContainerCreating", ""));
    let down = |reason: Reason, part: &'static str| Some((reason, part));
    for (wanted, available, pods, second, expected) in [
        (2, 2, vec![], 9, None),
        (2, 3, vec![], 9, None),
        (0, 0, vec![], 9, None),
        // One more or less, while it starts.
        (2, 1, vec![], 9, None),
        (2, 1, vec![starting()], 9, None),
        (2, 1, vec![pod(scheduled.clone())], 299, None),
        (
            2,
            1,
            vec![pod(scheduled.clone())],
            300,
            down(Reason::Unschedulable, "Insufficient memory"),
        ),
        (
            2,
            1,
            vec![crashing.clone()],
            9,
            down(Reason::CrashLoop, "ended with code 3"),
        ),
        // No pod at all.
        (
            1,
            0,
            vec![],
            9,
            down(Reason::Progressing, "no pod of web is ready"),
        ),
        (
            1,
            0,
            vec![starting()],
            9,
            down(Reason::Progressing, "no pod of web is ready"),
        ),
        (
            1,
            0,
            vec![pod(scheduled)],
            9,
            down(Reason::Unschedulable, "Insufficient memory"),
        ),
        (
            1,
            0,
            vec![crashing],
            9,
            down(Reason::CrashLoop, "ended with code 3"),
        ),
    ] {
        let found = match standing(&serving(), wanted, available, &pods, second) {
            Standing::Down(trouble) => Some(trouble),
            Standing::Serves(_) => None,
            other @ Standing::Unsure(_) => panic!("{other:?}"),
        };
        let said = found.as_ref().map(|t| (t.reason, t.message.as_str()));
        let as_expected = match (said, expected) {
            (Some((reason, said)), Some((wanted, part))) => reason == wanted && said.contains(part),
            (said, expected) => said.is_none() && expected.is_none(),
        };
        assert!(
            as_expected,
            "{available} of {wanted}: {said:?}, {expected:?}"
        );
    }
}

#[test]
fn what_the_deployment_controller_has_not_seen_says_nothing() {
    let release = serving();
    let seen = deployment(&json!({"spec": {"replicas": 2}}));
    let unseen = deployment(&json!({"metadata": {"generation": 5}, "spec": {"replicas": 2}}));
    assert!(is_whole(&release, std::slice::from_ref(&seen), &sets(0, 2)));
    assert!(!is_whole(
        &release,
        std::slice::from_ref(&seen),
        &sets(2, 1)
    ));
    assert!(!is_whole(
        &release,
        std::slice::from_ref(&unseen),
        &sets(0, 2)
    ));
    let now = at(BEGAN);
    let found = evaluate(Seen {
        release: &release,
        deployments: &[unseen],
        replica_sets: &sets(0, 0),
        pods: &[],
        slices: None,
        events: &[],
        secrets: &Secrets::Unknown,
        started_at: now,
        now,
    });
    assert!(matches!(found, Standing::Unsure(_)), "{found:?}");
}

#[test]
fn a_release_that_crashes_again_and_again_is_down_until_it_stays_and_is_written_seldom() {
    let mut release = serving();
    let mut told: Vec<String> = Vec::new();
    let ended = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
    let mut look = |second: i64, available: i32, pod: Pod| {
        let found = standing(&release, 1, available, &[pod], second);
        let lines = ["the last words".to_owned()];
        let next = match &found {
            Standing::Down(trouble) => {
                let known = told_lines(&release, trouble);
                let lines = known.unwrap_or_else(|| lines.to_vec());
                status(
                    &release,
                    &Finding::Down(trouble, &lines),
                    at(BEGAN + second),
                )
            }
            Standing::Serves(_) => status(&release, &Finding::Serving, at(BEGAN + second)),
            Standing::Unsure(after) => {
                let left = SignedDuration::try_from(*after).unwrap();
                assert!(left <= SignedDuration::from_secs(60), "{left:?}");
                return;
            }
        };
        if release.status.as_ref() == Some(&next) {
            return;
        }
        let ready = next.conditions.iter().find(|c| c.type_ == types::READY);
        let ready = ready.unwrap();
        assert_eq!(next.phase, ReleasePhase::Serving);
        told.push(format!("{second} {} {}", ready.status, ready.reason));
        release.status = Some(next);
    };
    let mut second = 40;
    for crash in 0..5 {
        look(second, 0, restarted(crash, None, &ended));
        look(second + 1, 0, restarted(crash, None, &backing_off()));
        look(second + 10, 0, restarted(crash + 1, None, &running()));
        look(
            second + 11,
            1,
            restarted(crash + 1, Some(second + 11), &running()),
        );
        look(
            second + 50,
            1,
            restarted(crash + 1, Some(second + 11), &running()),
        );
        second += 51;
    }
    // After the fifth restart it stays up.
    look(second + 19, 1, restarted(5, Some(second - 40), &running()));
    look(second + 21, 1, restarted(5, Some(second - 40), &running()));
    look(second + 90, 1, restarted(5, Some(second - 40), &running()));
    // Two reports that it is down, then one that it serves again.
    let (down, back) = told.split_at(told.len() - 1);
    assert_eq!(down, ["40 False CrashLoop", "41 False CrashLoop"]);
    assert_eq!(back, [format!("{} True Deployed", second + 21)]);
    assert!(release.status.unwrap().failure.is_none());
}
