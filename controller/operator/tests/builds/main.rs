//! The Build controller against a real API server, engine and registry: `SLIPWAY_TEST_FACTS` is the facts file of the
//! local cluster, `KUBECONFIG` its kubeconfig. Its custom resources have to be there, and no operator that looks
//! after all namespaces. The zones' programs are stand-ins.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod world;

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Resource as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use slipway::logs::{
    kept::Kept,
    source::{Logs, Source as _},
};
use slipway_crds::v1alpha1::{Build, BuildPhase, Revision};

use crate::world::{World, reason, uid};

fn phase(build: &Build) -> BuildPhase {
    build.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

fn is_archived(build: &Build) -> bool {
    build.status.as_ref().is_some_and(|s| s.log.is_some())
}

fn step(name: &str) -> serde_json::Value {
    json!({"env": [{"name": "STEP", "value": name}]})
}

async fn log(world: &World, name: &str, follow: bool) -> String {
    let build = world.api::<Build>().get(name).await.unwrap();
    let kept = Kept::new(Arc::new(world.registry()));
    let logs = Logs::new(
        world.client.clone(),
        Arc::new(world.driver()),
        kept,
        world.settings.registry.repositories(),
    );
    let pieces = Arc::new(logs).open(build, follow, 0).await.unwrap();
    let pieces: Vec<_> = pieces.expect("there is a log").try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn a_build_makes_an_image_and_leaves_nothing_but_its_log() {
    let world = World::new().await;
    let app = world.app("x").await;
    let revision: Revision = serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "Revision",
        "metadata": {"name": "revision", "ownerReferences": [app.controller_owner_ref(&()).unwrap()]},
        "spec": {
            "app": {"name": "x", "uid": app.metadata.uid}, "by": "Poll",
            "git": {"url": "https://example.com/x.git", "commit": "0".repeat(40)},
        },
    }))
    .unwrap();
    let revisions = world.api::<Revision>();
    revisions
        .create(&PostParams::default(), &revision)
        .await
        .unwrap();
    let _operator = world.operator();
    let uid = uid(&world.build("good", "x", step("nap")).await);
    let followed = log(&world, "good", true).await;
    let build = world.until("good", is_archived).await;

    assert_eq!(reason(&build), "BuildSucceeded");
    let status = build.status.unwrap();
    assert_eq!(status.processes["web"], "serve");
    assert_eq!(status.packs[0].name, "test");
    assert!(status.image.is_some() && status.seconds.unwrap() >= 4);
    let revision = revisions.get("revision").await.unwrap();
    assert_eq!(revision.status.unwrap().artifact, status.source);
    world.until_nothing_is_left(&uid).await;
    let whole = "-----> fetch\n-----> build\n-----> export\n";
    assert_eq!(followed, whole);
    assert_eq!(log(&world, "good", false).await, whole);
    assert_eq!(world.starts(&uid).await, ["fetch", "build", "export"]);
    let events = world.api::<Event>().list(&ListParams::default()).await;
    let mut reasons: Vec<_> = events
        .unwrap()
        .items
        .into_iter()
        .filter_map(|e| e.reason)
        .collect();
    // Another test may have had the image pulled.
    reasons.retain(|reason| reason != "PullingImage");
    reasons.sort();
    reasons.dedup();
    assert_eq!(reasons, ["BuildRunning", "BuildSucceeded"]);
    world.end().await;
}

#[tokio::test]
async fn a_failed_build_says_why_and_keeps_its_log() {
    let world = World::new().await;
    let _operator = world.operator();
    world.build("bad", "x", step("fail")).await;
    let build = world.until("bad", is_archived).await;
    assert_eq!(
        (phase(&build), reason(&build)),
        (BuildPhase::Failed, "BuildFailed")
    );
    let failure = build.status.unwrap().failure.unwrap();
    assert_eq!(
        (
            failure.step.as_str(),
            failure.pack.as_deref(),
            failure.exit_code
        ),
        ("compile", Some("test"), Some(3))
    );
    assert_eq!(
        failure.last_lines,
        ["-----> build", " !     no such version"]
    );
    assert!(
        log(&world, "bad", false)
            .await
            .ends_with("no such version\n")
    );
    world.end().await;
}

#[tokio::test]
async fn a_killed_operator_goes_on_where_it_was() {
    let world = World::new().await;
    for zone in ["fetch", "build", "export"] {
        let spec = if zone == "build" {
            step("nap")
        } else {
            json!({"source": {"git": {"ref": format!("nap-in-{zone}")}}})
        };
        let phase_of = match zone {
            "fetch" => BuildPhase::Fetching,
            "build" => BuildPhase::Building,
            _ => BuildPhase::Exporting,
        };
        let operator = world.operator();
        let uid = uid(&world.build(zone, zone, spec).await);
        world.until(zone, |build| phase(build) == phase_of).await;
        drop(operator);
        let _operator = world.operator();
        let build = world.until(zone, is_archived).await;
        assert_eq!(reason(&build), "BuildSucceeded", "{build:#?}");
        assert_eq!(world.starts(&uid).await, ["fetch", "build", "export"]);
        world.until_nothing_is_left(&uid).await;
    }
    world.end().await;
}

#[tokio::test]
async fn an_operator_that_comes_back_writes_nothing() {
    let world = World::new().await;
    let operator = world.operator();
    world.build("good", "x", json!({})).await;
    let build = world.until("good", is_archived).await;
    drop(operator);
    let _operator = world.operator();
    // Another Build's end tells that the first was looked at.
    world.build("next", "y", json!({})).await;
    world.until("next", is_archived).await;
    let after = world.api::<Build>().get("good").await.unwrap();
    assert_eq!(
        after.metadata.resource_version,
        build.metadata.resource_version
    );
    world.end().await;
}

#[tokio::test]
async fn a_missing_secret_is_waited_for() {
    let world = World::new().await;
    let _operator = world.operator();
    let from = json!({"secretKeyRef": {"name": "tokens", "key": "token"}});
    let spec = json!({"env": [{"name": "TOKEN", "valueFrom": from}]});
    let uid = uid(&world.build("waits", "x", spec).await);
    let build = world
        .until("waits", |build| reason(build) == "ReferenceMissing")
        .await;
    let message = &build.status.unwrap().conditions[0].message;
    assert!(
        message.contains("Secret tokens") && message.contains("TOKEN"),
        "{message}"
    );
    assert!(world.starts(&uid).await.is_empty());
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "tokens"}, "stringData": {"token": "t"}}),
    )
    .unwrap();
    let secrets = world.api::<Secret>();
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let build = world.until("waits", is_archived).await;
    assert_eq!(reason(&build), "BuildSucceeded");
    world.end().await;
}

#[tokio::test]
async fn a_newer_build_of_an_app_takes_over_and_others_queue() {
    let mut world = World::new().await;
    world.settings.builds.concurrency = 1;
    let _operator = world.operator();
    let old = uid(&world.build("old", "x", step("sleep")).await);
    world
        .until("old", |b| phase(b) == BuildPhase::Building)
        .await;
    world.build("other", "y", json!({})).await;
    world.until("other", |b| reason(b) == "BuildQueued").await;
    // Times of objects are whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.build("new", "x", json!({})).await;
    let build = world.until("old", is_archived).await;
    assert_eq!(
        (phase(&build), reason(&build)),
        (BuildPhase::Cancelled, "BuildSuperseded")
    );
    for name in ["other", "new"] {
        let build = world.until(name, is_archived).await;
        assert_eq!(reason(&build), "BuildSucceeded");
    }
    world.until_nothing_is_left(&old).await;
    world.end().await;
}

#[tokio::test]
async fn a_build_is_cancelled_by_annotation() {
    let world = World::new().await;
    let _operator = world.operator();
    world.build("slow", "x", step("sleep")).await;
    world
        .until("slow", |b| phase(b) == BuildPhase::Building)
        .await;
    let patch = json!({"metadata": {"annotations": {"slipway.dev/cancel": "true"}}});
    world
        .api::<Build>()
        .patch("slow", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let build = world.until("slow", is_archived).await;
    assert_eq!(reason(&build), "BuildCancelled");
    assert_eq!(
        log(&world, "slow", false).await,
        "-----> fetch\n-----> build\n"
    );
    world.end().await;
}

#[tokio::test]
async fn limits_of_time_and_memory_are_named() {
    let world = World::new().await;
    let _operator = world.operator();
    let mut spec = step("sleep");
    spec["timeout"] = json!("3s");
    world.build("long", "x", spec).await;
    let mut spec = step("eat");
    spec["resources"] = json!({"limits": {"memory": "32Mi"}});
    world.build("big", "y", spec).await;
    let message = |build: Build| build.status.unwrap().failure.unwrap().message;
    let long = world.until("long", is_archived).await;
    assert_eq!(reason(&long), "BuildTimedOut");
    assert!(message(long).contains("time limit of 3s"));
    let big = world.until("big", is_archived).await;
    assert_eq!(reason(&big), "OutOfMemory");
    assert!(message(big).contains("the limit is 32Mi"));
    world.end().await;
}

#[tokio::test]
async fn a_deleted_build_leaves_nothing_and_nobody_waits_for_it() {
    let world = World::new().await;
    let builds = world.api::<Build>();
    let operator = world.operator();
    let first = uid(&world.build("first", "x", step("sleep")).await);
    let second = uid(&world.build("second", "y", step("sleep")).await);
    for name in ["first", "second"] {
        world
            .until(name, |b| phase(b) == BuildPhase::Building)
            .await;
    }
    let params = DeleteParams::default();
    builds.delete("first", &params).await.unwrap();
    assert!(builds.get_opt("first").await.unwrap().is_none());
    world.until_nothing_is_left(&first).await;
    // While nobody looks.
    drop(operator);
    builds.delete("second", &params).await.unwrap();
    assert!(!world.left(&second).await.is_empty());
    let _operator = world.operator();
    world.until_nothing_is_left(&second).await;
    world.end().await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_waited_for() {
    let mut world = World::new().await;
    let address = std::mem::replace(
        &mut world.settings.engine.address,
        "unix:///no/such/socket".into(),
    );
    let operator = world.operator();
    world.build("waits", "x", json!({})).await;
    let build = world
        .until("waits", |b| reason(b) == "TemporaryFailure")
        .await;
    let message = &build.status.unwrap().conditions[0].message;
    assert!(
        message.contains("cannot reach the build engine at unix:///no/such/socket"),
        "{message}"
    );
    drop(operator);
    world.settings.engine.address = address;
    let _operator = world.operator();
    let build = world.until("waits", is_archived).await;
    assert_eq!(reason(&build), "BuildSucceeded");
    world.end().await;
}
