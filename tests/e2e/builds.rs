//! What builds give and what they cannot take.

use anyhow::{Context as _, Result, ensure};
use kube::{Api, ResourceExt as _};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, BuildPhase},
};
use slipway_tests::{
    app::{READY, SOON, build_phase, is_ready, says},
    case::{self, Case},
    docker, fixtures, operator, wait,
};

use crate::hostile::{Script, create};
use slipway_tests::app::git_app;

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
        case.apply(&git_app("hello", &repository.url)).await?;
        let first = image(&case, "hello").await?;
        // An App that is made again has another UID, and with it no cache.
        case.kubectl(&["delete", "app", "hello", "--wait=true"])
            .await?;
        let gone = async || Ok(case.builds("hello").await?.is_empty().then_some(()));
        wait::until_true(SOON, "rid of the first Build", gone).await?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let second = image(&case, "hello").await?;
        ensure!(first == second, "{first} and {second}");
        case.say(&format!("twice {first}"));
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
        let lost = |a: &App| says(a, types::SOURCE_READY).starts_with("False SourceNotFound");
        case.app_until("jobs", SOON, "without its source", lost)
            .await?;
        let first = case.builds("jobs").await?.remove(0);
        case.build_again("jobs").await?;
        let again = |b: &Build| b.name_any() != first.name_any() && build_phase(b).is_over();
        let build = case.build_until("jobs", READY, "over", again).await?;
        ensure!(
            build_phase(&build) == BuildPhase::Succeeded,
            "{:?}",
            build.status
        );
        let name = build.name_any();
        let image = |b: Build| b.status.unwrap_or_default().image;
        let (before, after) = (image(first), image(build));
        ensure!(
            before.is_some() && before == after,
            "{before:?} and {after:?}"
        );
        let known = |a: &App| {
            let said = says(a, types::BUILT);
            said.starts_with("True BuildSucceeded") && said.contains(&name)
        };
        let app = case.app_until("jobs", SOON, "told", known).await?;
        let available = says(&app, types::AVAILABLE);
        ensure!(available.starts_with("True Serving"), "{available}");
        let releases = case.releases("jobs").await?.len();
        ensure!(releases == 1, "the same image was released again");
        Ok(())
    });
}

#[test]
fn a_build_that_is_broken_off_from_outside_is_made_again() {
    case::run("interrupted", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("jobs", &repository.url)).await?;
        let first = case.build_until("jobs", SOON, "there", |_| true).await?;
        let container = docker::container(&first.uid().context("a UID")?, "build");
        let facts = &case.cluster.facts;
        // Frozen, it is sure to be under way.
        docker::freeze(facts, &container, READY).await?;
        let killed = docker::docker(facts, &["kill", &container]).await;
        if killed.is_err() {
            // Nobody can remove a container that is frozen.
            docker::thaw(facts, &container).await?;
        }
        killed?;
        // Ready without ever being Stalled: nobody has to do anything.
        let settled = |a: &App| is_ready(a) || says(a, types::STALLED).starts_with("True");
        let app = case.app_until("jobs", READY, "settled", settled).await?;
        ensure!(is_ready(&app), "{}", says(&app, types::STALLED));
        let builds = case.builds("jobs").await?;
        let causes: Vec<&str> = builds.iter().map(|b| b.spec.cause.as_str()).collect();
        let first = first.name_any();
        let broken = builds.iter().find(|b| b.name_any() == first);
        let reason =
            broken.and_then(|b| wait::condition(&b.status.as_ref()?.conditions, types::READY));
        let reason = reason.map(|c| c.reason.as_str());
        ensure!(reason == Some("BuildInterrupted"), "{reason:?}");
        let why = format!("{first} was interrupted");
        ensure!(
            causes.len() == 2 && causes.contains(&why.as_str()),
            "{causes:?}"
        );
        Ok(())
    });
}

/// A build of another namespace, with a canary in its files, that serves them until it is told to end: its container,
/// and where it answers.
async fn at_work(case: &Case, namespace: &str) -> Result<(String, String)> {
    let serves =
        "cd \"$1\"; python3 -m http.server 8099 & until test -e /tmp/enough; do sleep 0.2; done\n";
    let script = Script::new(&format!("{}-victim", case.namespace), serves)?;
    script.source.write("canary.txt", "canary-of-the-victim")?;
    script.source.commit("with a canary")?;
    create(case, namespace, &script.app("victim")).await?;
    let builds: Api<Build> = Api::namespaced(case.cluster.client.clone(), namespace);
    let building = |b: &Build| build_phase(b) == BuildPhase::Building;
    let build = wait::any(&builds, READY, "building", building).await?;
    let container = docker::container(&build.uid().context("a UID")?, "build");
    let facts = &case.cluster.facts;
    let answers = [
        "exec",
        &container,
        "python3",
        "-c",
        "import urllib.request as u; u.urlopen('http://127.0.0.1:8099/canary.txt')",
    ];
    let up = async || {
        docker::docker(facts, &answers).await?;
        Ok(Some(()))
    };
    wait::until_true(SOON, "serving", up).await?;
    let format = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = docker::docker(facts, &["inspect", format, &container]).await?;
    Ok((container, format!("{}:8099", address.trim())))
}

/// Parts of the cluster that a build has no business with.
async fn inside(case: &Case) -> Result<String> {
    let pod = operator::pods(&case.cluster).await?.remove(0);
    let pod = pod.status.and_then(|status| status.pod_ip);
    let node = &case.cluster.facts.node_address;
    let pod = pod.context("the operator's pod has an address")?;
    Ok(format!(
        "{node}:10250 {pod}:8080 kubernetes.default.svc:443"
    ))
}

/// A buildpack that searches everything in its reach for credentials and for another App's canary.
#[test]
fn a_thief_among_buildpacks_finds_nothing() {
    case::run("thief", |case| async move {
        let other = case.other_namespace().await?;
        let (victim, neighbour) = at_work(&case, &other).await?;
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: own}\nstringData: {key: canary-of-the-secret}\n";
        case.apply(secret).await?;
        let pack = fixtures::pack(&format!("{}-thief", case.namespace), "thief")?;
        let source = fixtures::repository(&case.namespace, "worker")?;
        let app = git_app("thief", &source.url);
        let facts = &case.cluster.facts;
        let engine = facts.engine.address.trim_start_matches("tcp://");
        let gateway = "--format={{(index .IPAM.Config 0).Gateway}}";
        let bridge = docker::docker(facts, &["network", "inspect", gateway, "bridge"]).await?;
        let bridge = bridge.trim();
        case.apply(&format!(
            "{app}  env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: own, key: key}}}}}}]
  build:
    buildpacks: ['{}#main']
    env:
      - {{name: THIEF_YRANAC, value: mitciv-eht-fo-yranac}}
      - {{name: THIEF_REGISTRY, value: '{}'}}
      - {{name: THIEF_ENGINE, value: '{engine}'}}
      - {{name: THIEF_BRIDGE, value: '{bridge}'}}
      - {{name: THIEF_API, value: '{}:6443'}}
      - {{name: THIEF_INSIDE, value: '{}'}}
      - {{name: THIEF_NEIGHBOUR, value: '{neighbour}'}}
",
            pack.url,
            facts.registry.push,
            facts.node_address,
            inside(&case).await?
        ))
        .await?;
        let over = |b: &Build| build_phase(b).is_over();
        let build = case.build_until("thief", READY, "over", over).await?;
        let state = docker::state(facts, &victim).await?;
        ensure!(
            state.ends_with("running"),
            "the victim was not there: {state}"
        );
        let log = case.log(&build.name_any()).await?.body;
        let found: Vec<&str> = log.lines().filter(|l| l.contains("THIEF FOUND")).collect();
        ensure!(found.is_empty(), "{found:?}");
        ensure!(
            log.contains("THIEF DONE findings=0"),
            "it did not look: {log}"
        );
        for place in [
            "environment",
            "proc",
            "files",
            "registry",
            "engine",
            "bridge",
            "api",
            "metadata",
            "inside",
            "neighbour",
            "past",
        ] {
            let tried = format!("THIEF TRIED {place}");
            ensure!(log.contains(&tried), "it did not try the {place}: {log}");
        }
        ensure!(
            !log.contains("canary-of-the-secret"),
            "a Secret's value in the log"
        );
        Result::Ok(())
    });
}
