//! From a source to an answer.

use anyhow::ensure;
use slipway_crds::{conditions::types, v1alpha1::App};
use slipway_tests::{
    app::{READY, SOON, git_app, image_app, image_app_of, says},
    case, fixtures, git, wait,
};

#[test]
fn a_python_app_answers() {
    case::run("python", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        case.ready("hello").await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "Hello from python", "{body}");
        let body = case.ask_once("hello").await?;
        ensure!(body == "Hello from python", "at its address: {body}");
        let story = [
            "RevisionCreated",
            "BuildCreated",
            "ReleaseCreated",
            "Deployed",
        ];
        case.tells("hello", &story).await?;
        let build = case.builds("hello").await?.remove(0);
        let packs = build.status.unwrap_or_default().packs;
        ensure!(packs.len() == 1 && packs[0].name == "python", "{packs:?}");
        Ok(())
    });
}

#[test]
fn a_node_app_answers_and_a_new_commit_changes_the_answer() {
    case::run("node", |case| async move {
        let repository = fixtures::repository(&case.namespace, "node")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        case.released("hello", "hello-v1").await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "Hello from node", "{body}");
        repository.write("greeting.txt", "Hello again\n")?;
        repository.commit("say it again")?;
        case.released("hello", "hello-v2").await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "Hello again", "{body}");
        Ok(())
    });
}

#[test]
fn an_image_app_answers() {
    case::run("image", |case| async move {
        let yaml = image_app(&case, "hello", "").await?;
        case.apply(&yaml).await?;
        case.ready("hello").await?;
        let body = case.answer("hello").await?;
        ensure!(body.trim() == "hello from an image", "{body}");
        ensure!(
            case.builds("hello").await?.is_empty(),
            "nothing is to build"
        );
        let body = case.ask_once("hello").await?;
        ensure!(body == "hello from an image", "at its address: {body}");
        Ok(())
    });
}

#[test]
fn an_image_that_exposes_several_ports_is_asked_on_its_own() {
    case::run("image-ports", |case| async move {
        let yaml = image_app_of(&case, "ports", "hello", "").await?;
        case.apply(&yaml).await?;
        let app = case.ready("hello").await?;
        let notes = app.status.unwrap_or_default().notes.join("\n");
        let told = "the image exposes 8081 and 9229 and sets PORT to 9000: web is asked on 9000";
        ensure!(notes.contains(told), "{notes}");
        case.answer("hello").await?;
        // Where nothing listens, the App says what names the port.
        let wrong = format!("{yaml}  port: 8081\n  deadlines: {{deploy: 20s}}\n");
        case.apply(&wrong).await?;
        let advice = "Name the port that the image listens on in spec.port: 8081 is asked now";
        let failed = |app: &App| says(app, types::READY).contains(advice);
        case.app_until("hello", READY, advice, failed).await?;
        Ok(())
    });
}

#[test]
fn an_app_with_only_a_worker_is_ready_when_it_runs() {
    case::run("worker", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("jobs", &repository.url)).await?;
        let app = case.ready("jobs").await?;
        let status = app.status.clone().unwrap_or_default();
        ensure!(
            status.url.is_none(),
            "a worker has no URL: {:?}",
            status.url
        );
        ensure!(status.processes.contains_key("worker"), "{status:?}");
        // It runs, and may not have said anything yet.
        let said = async || {
            let said = case.kubectl(&["logs", "deployment/jobs-worker"]).await?;
            ensure!(said.contains("working on default"), "{said}");
            Ok(Some(()))
        };
        wait::until_true(SOON, "saying what it does", said).await?;
        let services = case.kubectl(&["get", "services", "--output=name"]).await?;
        ensure!(!services.contains("jobs"), "{services}");
        Ok(())
    });
}

#[test]
fn a_private_repository_needs_its_secret_and_says_so() {
    case::run("private", |case| async move {
        let name = format!("private/{}", case.namespace);
        let repository = fixtures::repository(&name, "worker")?;
        let app = git_app("jobs", &repository.url);
        case.apply(&app).await?;
        let refused =
            |app: &App| says(app, types::SOURCE_READY).starts_with("False SourceUnavailable");
        let app_now = case.app_until("jobs", READY, "refused", refused).await?;
        let message = says(&app_now, types::READY);
        ensure!(
            message.to_lowercase().contains("secretref"),
            "what to do: {message}"
        );
        case.apply(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: git}}
stringData: {{username: {}, password: {}}}
---
{}",
            git::USER,
            git::PASSWORD,
            app.replace("ref: main", "ref: main, secretRef: {name: git}")
        ))
        .await?;
        case.ready("jobs").await?;
        let told = case.kubectl(&["get", "apps,builds,revisions,events", "--output=yaml"]);
        ensure!(
            !told.await?.contains(git::PASSWORD),
            "the password is shown"
        );
        Ok(())
    });
}

#[test]
fn an_image_for_other_machines_is_said_to_be_one_until_somebody_asks_again() {
    case::run("platform", |case| async move {
        const REPOSITORY: &str = "fixtures/platform";
        let (cluster, tag) = (&case.cluster, &case.namespace);
        fixtures::image_for(cluster, "arm64", REPOSITORY, tag)?;
        let name = format!("{REPOSITORY}:{tag}");
        let image = format!("{}/{name}", cluster.facts.registry.pull);
        case.apply(&fixtures::pull_secret(cluster, "pull")?).await?;
        case.apply(&format!(
            "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: hello}}
spec: {{source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}}}
"
        ))
        .await?;
        // Stalled: what is tried again by itself is Reconciling.
        let told = |a: &App| says(a, types::STALLED).starts_with("True PlatformMismatch");
        let app = case.app_until("hello", SOON, "told", told).await?;
        for kind in [types::SOURCE_READY, types::READY] {
            let message = says(&app, kind);
            ensure!(
                message.contains("is for linux/arm64; the nodes are linux/amd64"),
                "{kind}: {message}"
            );
        }
        ensure!(case.releases("hello").await?.is_empty(), "a release of it");
        fixtures::tagged(cluster, "web", &name)?;
        case.look_again("hello").await?;
        case.ready("hello").await?;
        ensure!(case.answer("hello").await?.contains("hello from an image"));
        Ok(())
    });
}
