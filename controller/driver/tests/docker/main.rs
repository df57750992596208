//! The driver against the real Docker Engine of the local cluster, of which `SLIPWAY_TEST_FACTS` is the facts file.
//! Without an engine they fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod engine;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use slipway_base::{
    outside::policy::Policy,
    zone::{Zone, input::Artifact},
};
use slipway_core::build::plan::PlanImage;
use slipway_core::build::zones::{EndedBy, Preparing, ZoneState, Zones};
use slipway_driver::{
    contract::{Driver as _, DriverError, Read as _},
    docker::names,
};
use slipway_support::docker_engine::{facts, text};

use crate::engine::{Engine, USER};

fn has_exited(state: &ZoneState) -> bool {
    matches!(state, ZoneState::Exited { .. })
}

#[tokio::test]
async fn zones_hand_on_a_volume_and_hold_no_rights() {
    let engine = Engine::connect().await;
    let plan = engine.plan(&[
        (
            Zone::Fetch,
            &["write=/workspace/file", "stat=/workspace/file"],
        ),
        (
            Zone::Build,
            &[
                "cat=/tmp/file",
                "status",
                "stat=/slipway",
                "stat=/slipway/input.json",
                "stat=/env",
                "write=/env/VARIABLE",
                "mounts",
                "warn=to stderr",
                "report=f00d {}",
                "exit=51",
            ],
        ),
    ]);
    let driver = engine.driver();

    assert_eq!(driver.observe(&plan.uid).await.unwrap(), Zones::NONE);
    for zone in &plan.zones {
        let started = driver.start(&plan, zone).await.unwrap();
        assert_eq!(started, ZoneState::Running);
        engine.until(&plan.uid, zone.zone, has_exited).await;
    }
    let zones = driver.observe(&plan.uid).await.unwrap();
    assert_eq!(zones.export, ZoneState::Absent);
    let ZoneState::Exited { code, by, .. } = zones.build else {
        panic!("it ended");
    };
    let log = engine.log(&plan.uid, Zone::Build).await;
    assert_eq!((code, by), (51, EndedBy::Itself), "{log}");
    for line in [
        "/tmp/file: from another zone",
        &format!("/slipway: 700 {USER}:{USER}"),
        &format!("/slipway/input.json: 400 {USER}:{USER}"),
        &format!("/env: 700 {USER}:{USER}"),
        "CapEff: 0000000000000000",
        "CapBnd: 0000000000000000",
        "NoNewPrivs: 1",
        &format!("Uid: {USER} {USER} {USER} {USER}"),
        "to stderr",
    ] {
        assert!(
            log.lines().any(|found| found == line),
            "no {line:?} in\n{log}"
        );
    }
    assert!(
        log.contains("tmpfs /env tmpfs rw,nosuid,nodev,noexec"),
        "{log}"
    );
    let report = engine.report(&plan.uid, Zone::Build).await;
    assert_eq!(report, Some(b"{}".to_vec()));
    assert_eq!(engine.report(&plan.uid, Zone::Fetch).await, None);
}

#[tokio::test]
async fn a_container_is_started_once_for_ever() {
    let engine = Engine::connect().await;
    let plan = engine.plan(&[(Zone::Fetch, &["say=once"])]);
    let (driver, zone) = (engine.driver(), &plan.zones[0]);
    driver.start(&plan, zone).await.unwrap();
    driver.start(&plan, zone).await.unwrap();
    engine.until(&plan.uid, zone.zone, has_exited).await;
    // As after a restart of the operator: nothing but the engine remembers.
    engine.driver().start(&plan, zone).await.unwrap();
    assert_eq!(engine.log(&plan.uid, zone.zone).await, "once\n");
    let container = names::container(&plan.uid, zone.zone);
    assert_eq!(engine.starts(&container).await, 1);
}

#[tokio::test]
async fn memory_beyond_the_limit_is_told() {
    let engine = Engine::connect().await;
    let mut plan = engine.plan(&[(Zone::Build, &["eat=256", "say=too late"])]);
    plan.zones[0].limits.memory_bytes = Some(32 << 20);
    let (driver, zone) = (engine.driver(), &plan.zones[0]);
    driver.start(&plan, zone).await.unwrap();
    let state = engine.until(&plan.uid, zone.zone, has_exited).await;
    assert!(
        matches!(
            state,
            ZoneState::Exited {
                code: 137,
                by: EndedBy::Memory,
                ..
            }
        ),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_limit_of_more_cpus_than_the_engine_has_is_no_error() {
    let engine = Engine::connect().await;
    let mut plan = engine.plan(&[(Zone::Build, &["say=ran"])]);
    plan.zones[0].limits.milli_cpus = Some(1_000_000);
    engine.driver().start(&plan, &plan.zones[0]).await.unwrap();
    engine.until(&plan.uid, Zone::Build, has_exited).await;
    assert_eq!(engine.log(&plan.uid, Zone::Build).await, "ran\n");
}

#[tokio::test]
async fn a_log_is_followed_to_its_end_and_an_absent_one_is_empty() {
    let engine = Engine::connect().await;
    let plan = engine.plan(&[(Zone::Build, &["say=first", "sleep=1", "say=last"])]);
    let (driver, zone) = (engine.driver(), &plan.zones[0]);
    assert_eq!(engine.log(&plan.uid, zone.zone).await, "");
    driver.start(&plan, zone).await.unwrap();
    let followed: Vec<_> = driver
        .output(&plan.uid, zone.zone, true)
        .await
        .unwrap()
        .log()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(followed.concat(), b"first\nlast\n");
}

#[tokio::test]
async fn a_report_comes_whole_out_of_a_container_whose_log_is_full() {
    let engine = Engine::connect().await;
    let notes = "\u{20ac}".repeat(1000);
    let report = format!("report=f00d {notes}");
    // Far more than the engine keeps.
    let plan = engine.plan(&[(Zone::Build, &["flood=200000", &report])]);
    let driver = engine.driver();
    driver.start(&plan, &plan.zones[0]).await.unwrap();
    engine.until(&plan.uid, Zone::Build, has_exited).await;
    let found = engine.report(&plan.uid, Zone::Build).await;
    assert_eq!(found, Some(notes.into_bytes()));
    let log = engine.log(&plan.uid, Zone::Build).await;
    assert!(log.lines().all(|line| line.starts_with('y')));
}

#[tokio::test]
async fn the_end_of_a_container_is_told() {
    let engine = Engine::connect().await;
    let plan = engine.plan(&[(Zone::Fetch, &["say=done"])]);
    let driver = engine.driver();
    let mut ended = driver.ended().await.unwrap();
    driver.start(&plan, &plan.zones[0]).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(30), ended.next())
        .await
        .expect("told in time");
    assert_eq!(told.as_deref(), Some(plan.uid.as_str()));
}

#[tokio::test]
async fn stopping_keeps_the_log_and_removing_keeps_nothing() {
    let engine = Engine::connect().await;
    let plan = engine.plan(&[(Zone::Build, &["say=begun", "sleep=600"])]);
    let (driver, zone) = (engine.driver(), &plan.zones[0]);
    driver.start(&plan, zone).await.unwrap();
    engine
        .until(&plan.uid, zone.zone, |state| *state == ZoneState::Running)
        .await;
    driver.stop(&plan.uid).await.unwrap();
    let stopped = driver.observe(&plan.uid).await.unwrap();
    assert!(has_exited(&stopped.build));
    assert_eq!(engine.log(&plan.uid, zone.zone).await, "begun\n");
    assert_eq!(driver.leftovers().await.unwrap().concat(), plan.uid);

    driver.remove(&plan.uid).await.unwrap();
    assert_eq!(driver.observe(&plan.uid).await.unwrap(), Zones::NONE);
    assert!(driver.leftovers().await.unwrap().is_empty());
    // Nothing there is no error.
    driver.stop(&plan.uid).await.unwrap();
    driver.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn another_installations_builds_are_not_ours() {
    let engine = Engine::connect().await;
    let other = Engine::connect().await;
    let plan = other.plan(&[(Zone::Fetch, &["say=other"])]);
    other.driver().start(&plan, &plan.zones[0]).await.unwrap();
    assert!(engine.driver().leftovers().await.unwrap().is_empty());
    assert_eq!(other.driver().leftovers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn builds_do_not_reach_each_other() {
    let engine = Engine::connect().await;
    let driver = engine.driver();
    let plan = engine.plan(&[(Zone::Build, &["serve=0.0.0.0:8080"])]);
    driver.start(&plan, &plan.zones[0]).await.unwrap();
    let container = names::container(&plan.uid, Zone::Build);
    let server = engine.address(&container).await;
    engine.until_said(&plan.uid, Zone::Build, "listening").await;
    let connect = format!("connect={server}:8080");
    let other = engine.plan(&[(Zone::Build, &[&connect])]);
    driver.start(&other, &other.zones[0]).await.unwrap();
    engine.until(&other.uid, Zone::Build, has_exited).await;
    assert_eq!(engine.log(&other.uid, Zone::Build).await, "cut off\n");
}

#[tokio::test]
async fn a_closed_build_reaches_its_proxy_and_nothing_else() {
    let engine = Engine::connect().await;
    let driver = engine.driver();
    let first = engine.closed_plan(&["serve=0.0.0.0:8080"]);
    driver.start(&first, &first.zones[0]).await.unwrap();
    engine
        .until_said(&first.uid, Zone::Build, "listening")
        .await;
    let closed = names::closed_network(&first.uid);
    let container = names::container(&first.uid, Zone::Build);
    let build = engine.addresses(&container).await;
    assert_eq!(build.keys().collect::<Vec<_>>(), [&closed]);
    let proxy = engine.addresses(&names::proxy(&first.uid)).await;
    assert_eq!(proxy.len(), 2, "{proxy:?}");

    let gateway = |address: &str| format!("{}.1", address.rsplit_once('.').unwrap().0);
    let world = &proxy[names::NETWORK];
    let node = text(&facts(), "/node_address");
    let second = engine.closed_plan(&[
        "connect=slipway-egress:3128",
        // Another build, and its proxy from either side.
        &format!("connect={}:8080", build[&closed]),
        &format!("connect={}:3128", proxy[&closed]),
        &format!("connect={world}:3128"),
        // The engine, from either network, and what answers every other container: the registry.
        "gateway=2376",
        &format!("connect={}:2376", gateway(world)),
        &format!("connect={node}:5000"),
    ]);
    // No image is waited for.
    let without = engine.driver_of("nobody/has:this");
    without.open(&second).await.unwrap();
    let closed = names::closed_network(&second.uid);
    assert!(!engine.networks().await.contains(&closed));
    // While fetch runs, and again after a restart: the build zone finds it at work.
    let way_out = &names::proxy(&second.uid);
    for _ in 0..2 {
        driver.open(&second).await.unwrap();
        assert!(engine.runs(way_out).await);
    }
    driver.start(&second, &second.zones[0]).await.unwrap();
    assert_eq!(engine.starts(way_out).await, 1);
    engine.until(&second.uid, Zone::Build, has_exited).await;
    let log = engine.log(&second.uid, Zone::Build).await;
    let said: Vec<&str> = log.lines().collect();
    assert_eq!(said, [&["connected"][..], &["cut off"; 6]].concat());

    // Once the build zone has ended, its network goes before the rest does. Nothing there is no error.
    for _ in 0..2 {
        driver.close(&second.uid).await.unwrap();
        assert!(!engine.networks().await.contains(&closed));
    }
    assert_eq!(engine.log(&second.uid, Zone::Build).await, log);

    for plan in [&first, &second] {
        driver.remove(&plan.uid).await.unwrap();
        let closed = names::closed_network(&plan.uid);
        assert!(!engine.networks().await.contains(&closed));
    }
    assert!(driver.leftovers().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_engine_knows_where_no_build_has_business() {
    let engine = Engine::connect().await;
    let driver = engine.driver();
    let plan = engine.closed_plan(&["gateway=2376"]);
    driver.start(&plan, &plan.zones[0]).await.unwrap();
    let proxy = names::proxy(&plan.uid);
    let told = engine.policy(&proxy).await;
    let proxy = engine.addresses(&proxy).await;
    let policy = Policy {
        // Where the cluster's mirrors and git servers are, without a port.
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        ..told
    };
    let address = text(&facts(), "/engine/address");
    let (host, port) = address
        .trim_start_matches("tcp://")
        .rsplit_once(':')
        .unwrap();
    let port = port.parse().unwrap();
    for own in [
        host,
        // Of containers that nobody told where to be.
        &engine.bridge().await,
        &proxy[names::NETWORK],
        &proxy[&names::closed_network(&plan.uid)],
    ] {
        let refused = policy.check("h", port, own.parse().unwrap());
        assert!(refused.is_err(), "{own} of {:?}", policy.own);
    }
    let node = text(&facts(), "/node_address");
    policy.check("h", port, node.parse().unwrap()).unwrap();
    driver.remove(&plan.uid).await.unwrap();
}

#[tokio::test]
async fn what_cannot_run_is_refused_and_who_is_away_may_come_back() {
    let engine = Engine::connect().await;
    let mut plan = engine.plan(&[(Zone::Build, &[])]);
    plan.zones[0].command = vec!["/no/such/program".into()];
    let driver = engine.driver();
    let error = driver.start(&plan, &plan.zones[0]).await.unwrap_err();
    assert!(
        matches!(&error, DriverError::Refused { message, .. } if message.contains("/no/such/program")),
        "{error:?}"
    );

    // Nobody listens there; and our own registry lets whoever has an old password not in.
    let denied = engine.denied_driver();
    for (driver, said) in [(&driver, "127.0.0.1:1"), (&denied, "unauthorized")] {
        let mut plan = engine.plan(&[(Zone::Fetch, &[])]);
        plan.zones[0].image = PlanImage::Ours(Artifact {
            repository: "nothing".to_owned(),
            digest: format!("sha256:{}", "0".repeat(64)),
        });
        let troubled = async {
            loop {
                match driver.start(&plan, &plan.zones[0]).await.unwrap() {
                    ZoneState::Preparing(Preparing {
                        trouble: Some(trouble),
                        ..
                    }) => return trouble,
                    ZoneState::Preparing(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    other => panic!("there is no such image: {other:?}"),
                }
            }
        };
        let trouble = tokio::select! {
            () = driver.work(|_| {}) => panic!("it works on"),
            trouble = tokio::time::timeout(Duration::from_secs(30), troubled) => trouble.unwrap(),
        };
        assert!(trouble.contains(said), "{trouble}");
        driver.remove(&plan.uid).await.unwrap();
    }

    let error = Engine::away().leftovers().await.unwrap_err();
    assert!(
        matches!(error, DriverError::Unreachable { .. }),
        "{error:?}"
    );
}
