//! The log of a build while it runs, after a restart of the operator, and after its containers are gone.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_tests::{case, dev::image, docker, fixtures, operator};

use crate::logs::Follower;
use slipway_tests::app::git_app;

#[test]
fn a_builds_log_is_there_while_it_runs_and_long_after() {
    case::run_alone("logs", |case| async move {
        // Before there is a build, which would not wait for it.
        let program = image::operator()?;
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let build = case.building("hello").await?;
        let name = build.name_any();
        let follower = Follower::start(&case, &program, &name).await?;
        operator::kill(&case.cluster).await?;
        case.ready("hello").await?;
        let label = format!("slipway.dev/build-uid={}", build.uid().context("a UID")?);
        docker::until_none_left(&case.cluster.facts, &label).await?;
        let kept = case.log(&name).await?;
        ensure!(kept.status == 200, "{kept:?}");
        for part in ["-----> ", "Flask", "gunicorn"] {
            ensure!(kept.body.contains(part), "no {part:?} in {}", kept.body);
        }
        // Followed through the restart, it is all there, and nothing twice.
        let shown = follower.shown().await?;
        ensure!(shown == kept.body, "followed: {shown}\nkept: {}", kept.body);
        Result::Ok(())
    });
}
