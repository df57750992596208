//! A build's log: while it runs, after a restart of the operator, after its containers are gone; to whom it may go.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    cluster, docker, fixtures, operator, wait,
};

use crate::sources::git_app;

async fn log(case: &Case, build: &str) -> Result<cluster::Answer> {
    cluster::request(&case.cluster.client, &path(case, build)).await
}

fn path(case: &Case, build: &str) -> String {
    let namespace = &case.namespace;
    format!("/apis/logs.slipway.dev/v1alpha1/namespaces/{namespace}/builds/{build}/log")
}

#[test]
fn a_builds_log_is_there_while_it_runs_and_long_after() {
    case::run_alone("logs", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let building = |b: &Build| build_phase(b) == BuildPhase::Building;
        let build = case
            .build_until("hello", READY, "building", building)
            .await?;
        let name = build.name_any();
        let live = async || {
            let answer = log(&case, &name).await?;
            Ok((answer.status == 200 && answer.body.contains("----->")).then_some(()))
        };
        wait::until_true(SOON, "told live", live).await?;
        operator::kill(&case.cluster).await?;
        wait::until_true(SOON, "told after a restart", live).await?;
        case.ready("hello").await?;
        let label = format!("slipway.dev/build-uid={}", build.uid().context("a UID")?);
        let gone = async || {
            let left = docker::left(&case.cluster.facts, &label).await?;
            Ok(left.is_empty().then_some(()))
        };
        wait::until_true(SOON, "its containers gone", gone).await?;
        let kept = log(&case, &name).await?;
        ensure!(kept.status == 200, "{kept:?}");
        for part in ["-----> ", "Flask", "gunicorn"] {
            ensure!(kept.body.contains(part), "no {part:?} in {}", kept.body);
        }
        Result::Ok(())
    });
}

#[test]
fn who_may_not_get_a_build_may_not_read_its_log() {
    case::run("log-rights", |case| async move {
        let repository = fixtures::repository(&case.namespace, "broken")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let failed = |b: &Build| build_phase(b) == BuildPhase::Failed;
        let build = case.build_until("hello", READY, "failed", failed).await?;
        let path = path(&case, &build.name_any());
        let stranger = case.cluster.as_user("stranger").await?;
        let answer = cluster::request(&stranger, &path).await?;
        ensure!(answer.status == 403, "{answer:?}");
        ensure!(!answer.body.contains("no-such-package"), "{answer:?}");
        let binding = [
            "create",
            "rolebinding",
            "viewers",
            "--clusterrole=view",
            "--user=reader",
        ];
        case.kubectl(&binding).await?;
        let reader = case.cluster.as_user("reader").await?;
        let read = async || {
            let answer = cluster::request(&reader, &path).await?;
            Ok((answer.status == 200).then_some(answer.body))
        };
        let body = wait::until_true(SOON, "readable with the role view", read).await?;
        ensure!(
            body.contains("no-such-package-of-slipway"),
            "a failed build's log: {body}"
        );
        Result::Ok(())
    });
}
