//! Releases that failed, and what makes them again.

use crate::decide::release::{Verdict, has_served, retry_at, tests::World};
use slipway_crds::v1alpha1::ReleasePhase;

#[test]
fn a_failed_release_is_not_made_again_for_the_same_inputs() {
    let mut world = World::new();
    world.make(ReleasePhase::Serving);
    world.draft.port = 8080;
    world.make(ReleasePhase::Failed);
    assert_eq!(world.make(ReleasePhase::Serving), "v2 exists");
    // The App asks for what already serves: there is nothing to make.
    world.draft.port = 5000;
    assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
}

#[test]
fn a_failed_release_is_made_again_for_a_build_that_was_asked_for() {
    let mut world = World::new();
    world.make(ReleasePhase::Failed);
    world.draft.build = Some("b-2".into());
    assert_eq!(world.make(ReleasePhase::Serving), "v2 another try of v1");
}

#[test]
fn a_failed_release_of_an_image_is_made_again_on_request() {
    let mut world = World::new();
    world.draft.build = None;
    world.make(ReleasePhase::Failed);
    assert_eq!(world.make(ReleasePhase::Pending), "v1 exists");
    world.retry = true;
    assert_eq!(world.make(ReleasePhase::Pending), "v2 another try of v1");
    assert_eq!(world.make(ReleasePhase::Pending), "v2 exists");
}

/// Minutes from each failure with an unavailable registry until the Release is made again, if `kept` failed Releases
/// are kept.
fn tries(world: &mut World, kept: i64) -> Vec<i64> {
    let mut said = Vec::new();
    let first = world.releases.len() + 1;
    for number in i64::try_from(first).unwrap()..20 {
        world.make(ReleasePhase::Failed);
        let oldest = number - kept;
        world
            .releases
            .retain(|r| r.spec.number > oldest || has_served(r));
        let failed = world.now;
        let release = world.releases.iter_mut().find(|r| r.spec.number == number);
        let Some(release) = release else { break };
        release.status = serde_json::from_value(serde_json::json!({
            "phase": "Failed",
            "failure": {"reason": "RegistryUnavailable", "message": "no answer"},
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "RegistryUnavailable", "message": "",
                "lastTransitionTime": failed.to_string(),
            }],
        }))
        .unwrap();
        assert!(matches!(world.verdict(), Verdict::Exists(_)), "not at once");
        let Some(at) = retry_at(&world.releases) else {
            break;
        };
        said.push(at.duration_since(failed).as_mins());
        world.now = at;
    }
    said
}

#[test]
fn a_release_that_wanted_its_registry_is_made_again_later_each_time() {
    let mut world = World::new();
    assert_eq!(tries(&mut world, 20), [1, 5, 15, 60, 180]);
    // A failure for another reason is not retried.
    let newest = world.releases.iter_mut().max_by_key(|r| r.spec.number);
    let status = newest.unwrap().status.as_mut().unwrap();
    status.failure.as_mut().unwrap().reason = "ImagePullFailed".into();
    assert_eq!(retry_at(&world.releases), None);
    // Pruned attempts also count.
    for kept in [1, 2, 4] {
        let mut world = World::new();
        world.make(ReleasePhase::Serving);
        world.draft.port = 8080;
        assert_eq!(tries(&mut world, kept), [1, 5, 15, 60, 180], "{kept}");
    }
}
