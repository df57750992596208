//! Findings and the status of a Release.

use slipway_crds::{
    conditions::{Reason, types},
    v1alpha1::{Release, ReleasePhase},
};

use crate::judge::{
    status::{Finding, status, superseded},
    tests::{at, release},
    trouble::Trouble,
};

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
