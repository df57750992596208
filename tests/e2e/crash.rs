//! The operator killed at the worst moments: the end is as if nothing had happened.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, api::ListParams};
use slipway_crds::v1alpha1::{Build, BuildPhase, ReleasePhase};
use slipway_tests::{
    app::{READY, SOON, build_phase, release_phase},
    case::{self, Case},
    docker, fixtures, operator, wait,
};

use crate::sources::{git_app, image_app};

#[test]
fn killed_while_the_source_is_fetched() {
    in_phase("crash-fetch", BuildPhase::Fetching);
}

#[test]
fn killed_while_buildpacks_run() {
    in_phase("crash-build", BuildPhase::Building);
}

#[test]
fn killed_while_the_image_is_written() {
    in_phase("crash-export", BuildPhase::Exporting);
}

fn in_phase(name: &str, phase: BuildPhase) {
    case::run_alone(name, |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let here = |b: &Build| build_phase(b) == phase;
        let build = case
            .build_until("hello", READY, "in the phase", here)
            .await?;
        operator::kill(&case.cluster).await?;
        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.contains("Hello from python"));
        as_if_nothing_had_happened(&case).await?;
        one_start_a_zone(&case, &build).await
    });
}

async fn one_start_a_zone(case: &Case, build: &Build) -> Result<()> {
    let uid = build.uid().context("a UID")?;
    let since = build.creation_timestamp().context("a time")?.0.as_second();
    let mut starts = BTreeMap::<String, usize>::new();
    for name in docker::starts(&case.cluster.facts, &uid, since - 5).await? {
        *starts.entry(name).or_default() += 1;
    }
    case.say(&format!("the engine's starts: {starts:?}"));
    ensure!(starts.len() == 3, "three zones: {starts:?}");
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
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        let config = |s: &Secret| s.name_any().starts_with("hello-config-");
        wait::any(&case.api(), READY, "the config", config).await?;
        operator::kill(&case.cluster).await?;
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
        operator::kill(&case.cluster).await?;
        case.released("hello", "hello-v2").await?;
        case.answers_with("hello", "/", "second").await?;
        ensure!(case.releases("hello").await?.len() == 2, "a third release");
        Result::Ok(())
    });
}
