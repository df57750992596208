//! An App that today's types cannot read.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_tests::{
    app::SOON,
    case::{self, Case},
    operator, wait,
};

use slipway_tests::app::image_app;

/// An object that an older schema let in, and that today's types cannot read.
#[test]
fn an_app_that_cannot_be_read_stops_no_other() {
    case::run_alone("unparsable", |case| async move {
        bad_app(&case).await?;
        let good = image_app(&case, "good", "").await?;
        case.apply(&good).await?;
        case.ready("good").await?;
        ensure!(case.answer("good").await?.contains("hello"));
        // And after a restart, when everything is read anew.
        operator::kill(&case.cluster).await?;
        let changed = format!("{good}  env: [{{name: GREETING, value: bye}}]\n");
        case.apply(&changed).await?;
        case.answers_with("good", "/", "bye").await?;
        case.kubectl(&["delete", "app", "bad"]).await?;
        Result::Ok(())
    });
}

/// Makes the App `bad`, whose port is a word: the schema is loosened for it, and put back at once.
async fn bad_app(case: &Case) -> Result<()> {
    let port = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/port";
    let schema = async |value: &Value| {
        let patch = json!([{"op": "replace", "path": port, "value": value}]).to_string();
        let crd = [
            "patch",
            "crd",
            "apps.slipway.dev",
            "--type=json",
            "--patch",
            &patch,
        ];
        case.kubectl(&crd).await
    };
    let before = case
        .kubectl(&["get", "crd", "apps.slipway.dev", "--output=json"])
        .await?;
    let before: Value = serde_json::from_str(&before)?;
    let before = before.pointer(port).context("the port in the schema")?;
    schema(&json!({"x-kubernetes-preserve-unknown-fields": true})).await?;
    let bad = "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {name: bad}
spec: {source: {image: {reference: 'registry.example.com/x:1'}}, port: http}
";
    let taken = async || case.apply(bad).await.map(Some);
    let made = wait::until_true(SOON, "taken by the loosened schema", taken).await;
    schema(before).await?;
    made
}
