//! What is ours, and what is not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use slipway_crds::{conditions::types, v1alpha1::App};
use slipway_tests::{
    app::{SOON, says},
    audit::Mark,
    case::{self, Case},
    wait,
};

use slipway_tests::app::image_app;

#[test]
fn a_service_of_somebody_else_is_left_alone() {
    case::run("foreign", |case| async move {
        let foreign = "apiVersion: v1
kind: Service
metadata: {name: hello, labels: {team: others}}
spec: {selector: {app: others}, ports: [{port: 1234}]}
";
        case.apply(foreign).await?;
        let services = case.api::<Service>();
        let before = services.get("hello").await?;
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        let stalled = |a: &App| {
            says(a, types::STALLED).starts_with("True NameTaken")
                && says(a, types::READY).contains("NameTaken")
        };
        let told = case.app_until("hello", SOON, "NameTaken", stalled).await?;
        ensure!(
            says(&told, types::READY).contains("hello"),
            "it names the Service"
        );
        let after = services.get("hello").await?;
        ensure!(before == after, "the foreign Service was changed");
        case.kubectl(&["delete", "service", "hello"]).await?;
        case.ready("hello").await?;
        case.answer("hello").await?;
        Ok(())
    });
}

#[test]
fn a_child_edited_by_hand_is_put_back() {
    case::run("by-hand", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        case.ready("hello").await?;
        let deployments = case.api::<Deployment>();
        let template = |d: &Deployment| d.spec.as_ref().map(|s| s.template.clone());
        let wanted = template(&deployments.get("hello-web").await?).context("a template")?;
        let web = |fields: &str| {
            format!(
                r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"web",{fields}}}]}}}}}}}}"#
            )
        };
        let edits = [
            web(r#""image":"example.com/evil:1""#),
            web(r#""readinessProbe":null"#),
            // And what we say nothing of.
            web(r#""args":["--debug"]"#),
            web(r#""env":[{"name":"DEBUG","value":"1"}]"#),
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"more","image":"example.com/evil:1"}]}}}}"#
                .to_owned(),
            r#"{"spec":{"template":{"metadata":{"annotations":{"by":"hand"}}}}}"#.to_owned(),
        ];
        for edit in edits {
            let mark = Mark::now(&case.cluster)?;
            case.kubectl(&["patch", "deployment", "hello-web", "--patch", &edit])
                .await?;
            let back = |d: &Deployment| template(d).as_ref() == Some(&wanted);
            wait::until(&deployments, "hello-web", SOON, "put back", back)
                .await
                .with_context(|| edit.clone())?;
            quiet(&case).await?;
            let mut writes = mark.writes(Some(&case.namespace))?;
            // One that comes between two others of the deployment controller is refused, and made again.
            writes.retain(|write| write.resource == "deployments" && write.code != 409);
            // What was added is made ours first, and dropped then.
            let put_back = (1..=2).contains(&writes.len());
            ensure!(put_back, "once, and no fight: {edit}: {writes:?}");
        }
        // To start anew is no edit.
        let mark = Mark::now(&case.cluster)?;
        case.kubectl(&["rollout", "restart", "deployment/hello-web"])
            .await?;
        let status = ["rollout", "status", "deployment/hello-web", "--timeout=10m"];
        case.kubectl(&status).await?;
        quiet(&case).await?;
        let mut writes = mark.writes(Some(&case.namespace))?;
        writes.retain(|write| write.resource == "deployments");
        ensure!(writes.is_empty(), "a restart was undone: {writes:?}");
        case.kubectl(&["delete", "service", "hello"]).await?;
        let there = async || Ok(case.api::<Service>().get_opt("hello").await?);
        wait::until_true(SOON, "made again", there).await?;
        case.ready("hello").await?;
        case.answer("hello").await?;
        Ok(())
    });
}

/// Waits until nothing was written for two seconds: a status still tells of pods that become ready.
pub(crate) async fn quiet(case: &Case) -> Result<()> {
    let silent = async || {
        let mark = Mark::now(&case.cluster)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(mark.writes(Some(&case.namespace))?.is_empty().then_some(()))
    };
    wait::until_true(SOON, "quiet", silent).await
}
