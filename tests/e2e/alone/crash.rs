//! The operator killed at the worst moments: the end is as if nothing had happened.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, api::ListParams};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, ReleasePhase},
};
use slipway_tests::{
    app::{READY, SOON, release_phase, says},
    case::{self, Case},
    docker, fixtures, operator,
};

use slipway_tests::app::{git_app, image_app};

#[test]
fn killed_in_each_zone_of_a_build() {
    case::run_alone("crash-zones", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        // To fetch takes a blink: it waits for the server until it is frozen.
        let mut hold = Some(repository.hold());
        case.apply(&git_app("hello", &repository.url)).await?;
        let build = case.build_until("hello", SOON, "there", |_| true).await?;
        let uid = build.uid().context("a UID")?;
        let facts = &case.cluster.facts;
        for zone in ["fetch", "build", "export"] {
            let container = docker::container(&uid, zone);
            // Frozen, it is sure to be under way when the operator goes, and when the next one comes.
            let before = docker::freeze(facts, &container, READY).await?;
            drop(hold.take());
            let succession = async {
                operator::kill(&case.cluster).await?;
                operator::looked_at_all::<Build>(&case.cluster, "build").await?;
                docker::state(facts, &container).await
            }
            .await;
            // Whatever came of it: nobody can remove a container that is frozen.
            docker::thaw(facts, &container).await?;
            let after = succession?;
            ensure!(after == before, "{zone} before: {before}; after: {after}");
        }
        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.contains("Hello from python"));
        as_if_nothing_had_happened(&case).await?;
        one_start_a_zone(&case, &build).await?;
        docker::until_none_left(facts, &format!("slipway.dev/build-uid={uid}")).await
    });
}

/// By the engine's own events, whose memory the operator has no part in.
pub(crate) async fn one_start_a_zone(case: &Case, build: &Build) -> Result<()> {
    let uid = build.uid().context("a UID")?;
    let since = build.creation_timestamp().context("a time")?.0.as_second();
    let mut starts = BTreeMap::<String, usize>::new();
    for name in docker::starts(&case.cluster.facts, &uid, since - 5).await? {
        *starts.entry(name).or_default() += 1;
    }
    case.say(&format!("the engine's starts: {starts:?}"));
    ensure!(
        starts.len() == 4,
        "three zones, and the build's way out: {starts:?}"
    );
    ensure!(
        starts.values().all(|n| *n == 1),
        "one start each: {starts:?}"
    );
    Ok(())
}

async fn as_if_nothing_had_happened(case: &Case) -> Result<()> {
    ensure!(case.builds("hello").await?.len() <= 1, "a second build");
    ensure!(case.releases("hello").await?.len() == 1, "a second release");
    ensure!(config_secrets(case).await? == 1, "a second config Secret");
    Ok(())
}

async fn config_secrets(case: &Case) -> Result<usize> {
    let ours = ListParams::default().labels("slipway.dev/app=hello");
    Ok(case.api::<Secret>().list(&ours).await?.items.len())
}

#[test]
fn killed_between_the_config_secret_and_the_release() {
    case::run_alone("crash-config", |case| async move {
        // The config Secret is made, and the Release is not: there is no room for it.
        let quota = "apiVersion: v1
kind: ResourceQuota
metadata: {name: none}
spec: {hard: {count/releases.slipway.dev: '0'}}
";
        case.apply(quota).await?;
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        let refused = |a: &App| {
            let says = says(a, types::RELEASED);
            says.starts_with("False") && says.contains("quota")
        };
        case.app_until("hello", SOON, "naming the quota", refused)
            .await?;
        ensure!(case.releases("hello").await?.is_empty(), "a Release");
        ensure!(config_secrets(&case).await? == 1, "no config Secret");
        operator::kill(&case.cluster).await?;
        case.delete(quota).await?;
        case.released("hello", "hello-v1").await?;
        case.answer("hello").await?;
        as_if_nothing_had_happened(&case).await
    });
}

#[test]
fn killed_in_the_middle_of_a_roll_out() {
    case::run_alone("crash-rollout", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        case.apply(&format!(
            "{app}  env: [{{name: GREETING, value: second}}]\n"
        ))
        .await?;
        case.release_until("hello", SOON, "rolling out", |r| {
            r.spec.number == 2 && release_phase(r) == ReleasePhase::Deploying
        })
        .await?;
        operator::kill_until_the_lease_expires(&case.cluster).await?;
        case.released("hello", "hello-v2").await?;
        case.answers_with("hello", "/", "second").await?;
        ensure!(case.releases("hello").await?.len() == 2, "a third release");
        Result::Ok(())
    });
}
