//! What builds give and what they cannot take.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, build_phase},
    case::{self, Case},
    cluster, fixtures,
};

use crate::sources::git_app;

/// The digest of the image of an App's only Build.
async fn image(case: &Case, app: &str) -> Result<String> {
    let over = |b: &Build| build_phase(b) == BuildPhase::Succeeded;
    let build = case.build_until(app, READY, "succeeded", over).await?;
    Ok(build
        .status
        .unwrap_or_default()
        .image
        .context("an image")?
        .digest)
}

#[test]
fn the_same_tree_gives_the_same_image_without_a_cache() {
    case::run("reproducible", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        // Two Apps: neither has the other's cache.
        case.apply(&git_app("one", &repository.url)).await?;
        case.apply(&git_app("two", &repository.url)).await?;
        let (one, two) = (image(&case, "one").await?, image(&case, "two").await?);
        ensure!(one == two, "{one} and {two}");
        case.say(&format!("twice {one}"));
        Result::Ok(())
    });
}

#[test]
fn a_build_needs_no_git_server_once_its_revision_is_stored() {
    case::run("stored", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        let app = git_app("jobs", &repository.url);
        case.apply(&app).await?;
        case.ready("jobs").await?;
        repository.remove()?;
        case.kubectl(&[
            "annotate",
            "app",
            "jobs",
            "slipway.dev/rebuild-requested-at=now",
        ])
        .await?;
        let first = case.builds("jobs").await?.remove(0).name_any();
        let again = |b: &Build| b.name_any() != first && build_phase(b).is_over();
        let build = case.build_until("jobs", READY, "over", again).await?;
        ensure!(
            build_phase(&build) == BuildPhase::Succeeded,
            "{:?}",
            build.status
        );
        Result::Ok(())
    });
}

/// A buildpack that searches everything in its reach for credentials and for another App's canary.
#[test]
fn a_thief_among_buildpacks_finds_nothing() {
    case::run("thief", |case| async move {
        let victim = fixtures::repository(&format!("{}-victim", case.namespace), "worker")?;
        victim.write("canary.txt", "canary-of-the-victim")?;
        victim.commit("with a canary")?;
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: own}\nstringData: {key: canary-of-the-secret}\n";
        case.apply(secret).await?;
        let app = git_app("victim", &victim.url);
        case.apply(&format!(
            "{app}  env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: own, key: key}}}}}}]\n"
        ))
        .await?;
        case.ready("victim").await?;
        let pack = fixtures::pack(&format!("{}-thief", case.namespace), "thief")?;
        let source = fixtures::repository(&case.namespace, "worker")?;
        let app = git_app("thief", &source.url);
        let facts = &case.cluster.facts;
        let places = format!(
            "{} {} {}",
            facts.registry.push, facts.engine.address, facts.node_address
        );
        case.apply(&format!(
            "{app}  env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: own, key: key}}}}}}]
  build: {{buildpacks: ['{}#main'], env: [{{name: PLACES, value: '{places}'}}]}}\n",
            pack.url
        ))
        .await?;
        let over = |b: &Build| build_phase(b).is_over();
        let build = case.build_until("thief", READY, "over", over).await?;
        let path = format!(
            "/apis/logs.slipway.dev/v1alpha1/namespaces/{}/builds/{}/log",
            case.namespace,
            build.name_any()
        );
        let log = cluster::request(&case.cluster.client, &path).await?.body;
        ensure!(
            log.contains("the thief looked everywhere"),
            "it did not look: {log}"
        );
        let found: Vec<&str> = log.lines().filter(|l| l.contains("LOOT")).collect();
        ensure!(found.is_empty(), "{found:?}");
        Result::Ok(())
    });
}
