//! `kubectl wait --for=condition=Ready`, as scripts use it: met means that the next request is answered by what was
//! applied last, at whatever stage it was asked.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    fixtures,
};

use slipway_tests::app::{git_app, image_app};

/// One look.
const NOW: Duration = Duration::ZERO;

/// Whether `kubectl wait` sees the condition of the App before its time is over.
async fn waited(case: &Case, condition: &str, limit: Duration) -> Result<bool> {
    let condition = format!("--for=condition={condition}");
    let limit = format!("--timeout={}s", limit.as_secs());
    let question = ["wait", &condition, &limit, "app/hello"];
    let said = match case.kubectl(&question).await {
        Ok(said) => said,
        Err(error) => format!("{error:#}"),
    };
    if said.contains("condition met") {
        return Ok(true);
    }
    let no = ["timed out waiting", "condition not met"];
    if !no.iter().any(|no| said.contains(no)) {
        bail!("{said}");
    }
    Ok(false)
}

/// Waits for Ready, then asks once: no second try, as in a script.
async fn ready_with(case: &Case, body: &str) -> Result<()> {
    ensure!(waited(case, "Ready", READY).await?, "it is never Ready");
    let answer = case.ask_once("hello").await?;
    ensure!(
        answer == body,
        "Ready, and answered {answer:?}, not {body:?}"
    );
    Ok(())
}

#[test]
fn ready_is_right_while_configuration_changes_and_a_deploy_fails() {
    case::run("wait-deploy", |case| async move {
        let app = image_app(&case, "hello", "").await?;
        let with = |env: &str, attempts: u32| {
            format!(
                "{app}  checks: {{web: [{{type: startup, path: /healthz, attempts: {attempts}, wait: 1}}]}}
  env: [{env}]
"
            )
        };
        let greeting = |word: &str| with(&format!("{{name: GREETING, value: {word}}}"), 60);
        case.apply(&greeting("one")).await?;
        ensure!(!waited(&case, "Ready", NOW).await?, "Ready at once");
        ready_with(&case, "one from an image").await?;
        for word in ["two", "three"] {
            case.apply(&greeting(word)).await?;
            ready_with(&case, &format!("{word} from an image")).await?;
        }

        let broken = "{name: GREETING, value: four}, {name: BROKEN, value: x}";
        case.apply(&with(broken, 15)).await?;
        let first = tokio::select! {
            ready = waited(&case, "Ready", READY) => ready?.then_some("Ready"),
            stalled = waited(&case, "Stalled", READY) => stalled?.then_some("Stalled"),
        };
        ensure!(
            first == Some("Stalled"),
            "a deploy that fails, and the App is {first:?}"
        );
        ensure!(!waited(&case, "Ready", NOW).await?, "Ready and Stalled");
        ensure!(waited(&case, "Available", NOW).await?, "v3 serves on");
        ensure!(case.ask_once("hello").await? == "three from an image");

        for word in ["three", "five"] {
            case.apply(&greeting(word)).await?;
            ready_with(&case, &format!("{word} from an image")).await?;
        }
        Ok(())
    });
}

#[test]
fn ready_is_right_while_code_changes_and_a_build_fails() {
    case::run("wait-build", |case| async move {
        let repository = fixtures::repository(&case.namespace, "python")?;
        let requirements = fixtures::text("python", "requirements.txt")?;
        let app = git_app("hello", &repository.url);
        case.apply(&app).await?;
        ensure!(!waited(&case, "Ready", NOW).await?, "Ready at once");
        case.building("hello").await?;
        ensure!(!waited(&case, "Ready", NOW).await?, "Ready while it builds");
        ready_with(&case, "Hello from python").await?;

        // A commit is seen at the next look-up: until then Ready speaks of the one before, and rightly so.
        repository.write("greeting.txt", "Hello again\n")?;
        repository.write("requirements.txt", "no-such-package-of-slipway==99.99\n")?;
        repository.commit("ask for what there is not")?;
        let failed = |b: &Build| build_phase(b) == BuildPhase::Failed;
        case.build_until("hello", READY, "failed", failed).await?;
        ensure!(waited(&case, "Stalled", SOON).await?, "nobody is told");
        ensure!(!waited(&case, "Ready", NOW).await?, "Ready, unbuilt");
        ensure!(case.ask_once("hello").await? == "Hello from python");
        case.apply(&format!("{app}  env: [{{name: OTHER, value: x}}]\n"))
            .await?;
        ensure!(
            !waited(&case, "Ready", Duration::from_secs(20)).await?,
            "Ready, unbuilt"
        );
        ensure!(case.ask_once("hello").await? == "Hello from python");

        // It is not Ready now, so that Ready can only mean the repaired commit.
        repository.write("requirements.txt", &requirements)?;
        repository.commit("ask for what there is")?;
        ready_with(&case, "Hello again").await
    });
}
