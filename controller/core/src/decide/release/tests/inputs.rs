//! What makes a Release, and the words for it.

use crate::decide::release::{
    Verdict, inputs,
    tests::{World, config},
};
use slipway_crds::v1alpha1::{
    Check, Deadlines, LocalRef, PodSecurity, ReleasePhase, ReleaseProcess, ReleaseSite,
    ReleaseSpec, ReleaseVolume, Resources,
};

type Change = fn(&mut ReleaseSpec);
type Step = (fn(&mut World), &'static str);

#[test]
fn each_change_makes_a_release_and_says_so_without_values() {
    let mut world = World::new();
    assert_eq!(
        world.make(ReleasePhase::Serving),
        "v1 first release, of abc"
    );
    assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
    let changes: [Step; 12] = [
        (
            |w| {
                w.draft.image.reference = "slipway/team/hello@sha256:2".into();
                w.draft.revision_id = "def".into();
            },
            "v2 new image from commit def",
        ),
        (
            |w| {
                w.draft.config_secret = "c-2".into();
                w.configs.insert(
                    "c-2".into(),
                    config(&[("GREETING", "hunter2"), ("EXTRA", "x")]),
                );
            },
            "v3 config changed: EXTRA, GREETING",
        ),
        (
            |w| w.web().command = Some("serve".into()),
            "v4 commands changed: web",
        ),
        (
            |w| w.web().checks.push(Check::default()),
            "v5 checks changed: web",
        ),
        (
            |w| {
                w.draft
                    .processes
                    .insert("worker".into(), ReleaseProcess::default());
            },
            "v6 processes added: worker",
        ),
        (|w| w.draft.port = 8080, "v7 port is 8080 now"),
        (
            |w| w.draft.volumes.push(ReleaseVolume::default()),
            "v8 storage changed",
        ),
        (
            |w| {
                w.draft.deadlines = Deadlines {
                    deploy: Some("1m".parse().unwrap()),
                    stop: None,
                }
            },
            "v9 deadlines changed",
        ),
        (
            |w| w.draft.pod_security = PodSecurity::Baseline,
            "v10 podSecurity is Baseline now",
        ),
        (
            |w| w.draft.image.pull_secret_ref = Some(LocalRef { name: "s".into() }),
            "v11 the pull secret changed",
        ),
        (
            |w| w.web().resources = Some(Resources::default()),
            "v12 resources changed: web",
        ),
        (
            |w| w.draft.image.user_id = Some(7),
            "v13 the user of the image changed",
        ),
    ];
    for (change, wanted) in changes {
        change(&mut world);
        assert_eq!(world.make(ReleasePhase::Serving), wanted);
        assert!(
            matches!(world.verdict(), Verdict::Exists(_)),
            "{wanted}: and once only"
        );
    }
}

#[test]
fn replicas_and_a_commit_with_the_same_image_make_none() {
    let mut world = World::new();
    world.make(ReleasePhase::Serving);
    world.web().replicas = 7;
    world.draft.revision_id = "def".into();
    world.draft.build = Some("b-2".into());
    world.draft.renderer = 9;
    assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
}

#[test]
fn going_back_to_an_older_config_is_a_new_release() {
    let mut world = World::new();
    world.make(ReleasePhase::Superseded);
    world.draft.port = 8080;
    world.make(ReleasePhase::Serving);
    world.draft.port = 5000;
    assert_eq!(world.make(ReleasePhase::Serving), "v3 port is 5000 now");
}

#[test]
fn the_hash_stays_as_it_is() {
    // Another hash would make a new Release of every App when the operator is upgraded.
    assert_eq!(
        inputs(&World::new().draft),
        "d122e82a39e8bd19624334b6247d4571ecd81faa"
    );
}

#[test]
fn settings_and_rules_are_those_of_the_release_until_somebody_asks_for_those_of_now() {
    let mut world = World::new();
    let site = |registry: &str, programs: &str| {
        Some(ReleaseSite {
            registry: registry.into(),
            pull_secret: None,
            program_image: programs.into(),
            drain_seconds: 5,
        })
    };
    // A request for the rules and settings that the Release has already.
    world.draft.renderer = 1;
    world.make(ReleasePhase::Serving);
    world.rerender = true;
    assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
    let steps: [(Change, &str); 3] = [
        // The Release before was made by an operator that recorded no settings.
        (
            |draft| draft.site = Some(ReleaseSite::default()),
            "rerender requested",
        ),
        (|draft| draft.renderer = 2, "rerender requested"),
        (
            |draft| draft.site.as_mut().unwrap().program_image = "another".into(),
            "rerender requested",
        ),
    ];
    for ((change, cause), number) in steps.into_iter().zip(2..) {
        world.rerender = false;
        change(&mut world.draft);
        assert_eq!(
            world.make(ReleasePhase::Serving),
            format!("v{} exists", number - 1)
        );
        world.rerender = true;
        assert_eq!(
            world.make(ReleasePhase::Serving),
            format!("v{number} {cause}")
        );
    }
    // The new settings break pods: the Release before keeps serving, and nothing is retried by itself.
    world.draft.site = site("broken", "p");
    let made = "v5 cluster settings changed: registry address, drain time";
    assert_eq!(world.make(ReleasePhase::Failed), made);
    world.rerender = false;
    assert_eq!(world.make(ReleasePhase::Failed), "v5 exists");
    // The settings are set back: the Release that serves is the wanted one.
    let broken = world.draft.site.replace(ReleaseSite {
        program_image: "of another operator".into(),
        ..ReleaseSite::default()
    });
    assert_eq!(world.make(ReleasePhase::Failed), "v4 exists");
    world.draft.site = broken;
    assert_eq!(world.make(ReleasePhase::Failed), "v5 exists");
    // A new request makes a Release, with the same settings or with others.
    world.rerender = true;
    assert_eq!(world.make(ReleasePhase::Failed), "v6 another try of v5");
    world.draft.site = site("right", "p");
    assert_eq!(
        world.make(ReleasePhase::Serving),
        "v7 cluster settings changed: registry address"
    );
    assert_eq!(world.make(ReleasePhase::Serving), "v7 exists");
    // A Release that is made for another reason also takes up new settings.
    world.rerender = false;
    world.draft.port = 8080;
    world.draft.site = site("newer", "p");
    let made = "v8 port is 8080 now; cluster settings changed: registry address";
    assert_eq!(world.make(ReleasePhase::Serving), made);
}
