//! Builds that fail, Apps that go, Apps that cannot be carried out.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, BuildPhase},
};
use slipway_tests::{
    app::{READY, SOON, build_phase, says},
    case, docker, fixtures, wait,
};

use slipway_tests::app::{git_app, image_app};

#[test]
fn a_failing_build_is_explained_and_not_repeated_and_what_serves_goes_on() {
    case::run("failing", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        case.released("hello", "hello-v1").await?;
        repository.write("requirements.txt", "no-such-package-of-slipway==99.99\n")?;
        repository.commit("ask for what there is not")?;
        let failed = |b: &Build| build_phase(b) == BuildPhase::Failed;
        let build = case.build_until("hello", READY, "failed", failed).await?;
        let failure = build.status.unwrap_or_default().failure.context("why")?;
        ensure!(failure.step == "compile", "{failure:?}");
        ensure!(failure.pack.as_deref() == Some("python"), "{failure:?}");
        ensure!(failure.exit_code.is_some_and(|c| c != 0), "{failure:?}");
        let said = failure.last_lines.join("\n");
        ensure!(said.contains("no-such-package-of-slipway"), "{said}");
        let app = case
            .app_until("hello", SOON, "not Ready for the build", |a| {
                says(a, types::READY).contains("BuildFailed")
            })
            .await?;
        ensure!(says(&app, types::AVAILABLE).starts_with("True"));
        ensure!(case.answer("hello").await?.contains("Hello from python"));
        // Looking again, because of a change that has nothing to do with it, does not build again.
        case.look_again("hello").await?;
        ensure!(case.builds("hello").await?.len() == 2, "it was built again");
        // A request does.
        case.build_again("hello").await?;
        let third = async || Ok((case.builds("hello").await?.len() == 3).then_some(()));
        wait::until_true(SOON, "building on request", third).await?;
        Result::Ok(())
    });
}

#[test]
fn a_build_that_failed_for_a_variable_is_made_again_once_that_is_corrected() {
    case::run("variable", |case| async move {
        let repository = fixtures::repository(&case.namespace, "node")?;
        let app = git_app("hello", &repository.url);
        let wrong = "{name: NODE_OPTIONS, value: '-r no-such-module-of-slipway'}";
        case.apply(&format!("{app}  env: [{wrong}]\n")).await?;
        let told = |a: &App| says(a, types::STALLED).starts_with("True BuildFailed");
        let failed = case.app_until("hello", READY, "failed", told).await?;
        let message = says(&failed, types::READY);
        ensure!(message.contains("no-such-module-of-slipway"), "{message}");
        case.apply(&app).await?;
        case.released("hello", "hello-v1").await?;
        ensure!(case.builds("hello").await?.len() == 2, "and once only");
        ensure!(case.answer("hello").await?.contains("Hello from node"));
        Result::Ok(())
    });
}

/// Kinds of what belongs to an App.
const OWNED: [&str; 9] = [
    "revisions",
    "builds",
    "releases",
    "deployments",
    "replicasets",
    "services",
    "secrets",
    "serviceaccounts",
    "pods",
];

#[test]
fn all_that_an_app_owns_goes_with_it_in_seconds() {
    case::run("deletion", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        case.ready("hello").await?;
        let owned = async |kinds: &str| {
            let mine = "--selector=slipway.dev/app";
            case.kubectl(&["get", kinds, "--output=name", mine]).await
        };
        for kind in OWNED {
            ensure!(!owned(kind).await?.is_empty(), "no {kind} is seen at all");
        }
        // The second one is deleted while it is built: until then nothing else is asked.
        case.apply(&git_app("halfway", &repository.url)).await?;
        let build = case.building("halfway").await?;
        let label = format!("slipway.dev/build-uid={}", build.uid().context("a UID")?);
        ensure!(
            !docker::left(&case.cluster.facts, &label).await?.is_empty(),
            "nothing is seen on the engine at all"
        );
        let begin = Instant::now();
        case.kubectl(&["delete", "app", "hello", "halfway", "--wait=true"])
            .await?;
        let gone = async || {
            let left = owned(&OWNED.join(",")).await?;
            Ok(left.trim().is_empty().then_some(()))
        };
        wait::until_true(SOON, "all gone", gone).await?;
        docker::until_none_left(&case.cluster.facts, &label).await?;
        case.say(&format!(
            "gone after {:.1} s",
            begin.elapsed().as_secs_f64()
        ));
        ensure!(begin.elapsed().as_secs() < 60, "this takes too long");
        Result::Ok(())
    });
}

#[test]
fn a_spec_that_cannot_be_carried_out_is_stalled_and_says_why() {
    case::run("stalled", |case| async move {
        let env = "  storage: [{name: data, mountPath: /data, claimTemplate: {size: 1Mi}, processes: [nobody]}]\n";
        let app = image_app(&case, "hello", env).await?;
        case.apply(&app).await?;
        let told = |a: &App| {
            let says = says(a, types::READY);
            says.contains("nobody")
        };
        case.app_until("hello", SOON, "naming the process that is not there", told)
            .await?;
        Ok(())
    });
}
