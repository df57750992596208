//! Which Release runs, and its number.

use crate::decide::release::{target, tests::World};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use slipway_crds::v1alpha1::{Release, ReleasePhase, ReleaseSpec, ReleaseStatus};

#[test]
fn what_was_overtaken_before_it_served_is_made_anew() {
    let mut world = World::new();
    world.make(ReleasePhase::Serving);
    world.draft.port = 8080;
    world.make(ReleasePhase::Superseded);
    world.draft.port = 9090;
    world.make(ReleasePhase::Failed);
    // The App asks for what v2 had, which never served; v1 serves.
    world.draft.port = 8080;
    assert_eq!(world.make(ReleasePhase::Pending), "v4 port is 8080 now");
}

#[test]
fn the_newest_that_has_not_failed_runs_else_the_last_that_served() {
    use ReleasePhase::{Deploying, Failed, Pending, Serving, Superseded};
    type Case<'a> = (&'a [(ReleasePhase, bool)], Option<i64>);
    let cases: [Case; 12] = [
        (&[], None),
        (&[(Pending, false)], Some(1)),
        (&[(Serving, true), (Deploying, false)], Some(2)),
        (&[(Serving, true), (Failed, false)], Some(1)),
        (
            &[(Superseded, true), (Serving, true), (Failed, false)],
            Some(2),
        ),
        (
            &[(Serving, true), (Superseded, false), (Failed, false)],
            Some(1),
        ),
        (
            &[(Serving, true), (Failed, false), (Failed, false)],
            Some(1),
        ),
        (
            &[(Superseded, true), (Superseded, false), (Failed, false)],
            Some(1),
        ),
        // The phase Serving is enough.
        (
            &[(Superseded, true), (Serving, false), (Failed, false)],
            Some(2),
        ),
        // It served once, and failed when it was made the target again.
        (
            &[(Superseded, true), (Failed, true), (Failed, false)],
            Some(1),
        ),
        (&[(Failed, false), (Failed, false)], None),
        (&[(Failed, false), (Pending, false)], Some(2)),
    ];
    for (phases, expected) in cases {
        let release = |((phase, served), number): (&(ReleasePhase, bool), i64)| {
            let spec = ReleaseSpec {
                number,
                ..ReleaseSpec::default()
            };
            let mut release = Release::new("x", spec);
            release.status = Some(ReleaseStatus {
                phase: *phase,
                deployed_at: served.then_some(Time(Timestamp::UNIX_EPOCH)),
                ..ReleaseStatus::default()
            });
            release
        };
        let mut releases: Vec<Release> = phases.iter().zip(1..).map(release).collect();
        // The order of the Releases does not matter.
        releases.reverse();
        let found = target(&releases).map(|release| release.spec.number);
        assert_eq!(found, expected, "{phases:?}");
    }
}

#[test]
fn a_number_is_used_once() {
    let mut world = World::new();
    world.make(ReleasePhase::Superseded);
    world.draft.port = 8080;
    world.make(ReleasePhase::Serving);
    world.releases.pop();
    world.last = Some(2);
    assert_eq!(world.make(ReleasePhase::Serving), "v3 port is 8080 now");
    // The App's status is older than the records, or lost.
    world.draft.port = 9090;
    assert_eq!(world.make(ReleasePhase::Serving), "v4 port is 9090 now");
    world.last = None;
    world.draft.port = 8080;
    assert_eq!(world.make(ReleasePhase::Serving), "v5 port is 8080 now");
    // All Releases are deleted; the App's status has the last number.
    world.releases.clear();
    world.last = Some(5);
    assert_eq!(
        world.make(ReleasePhase::Serving),
        "v6 first release, of abc"
    );
}
