//! Records and statuses that somebody else than the operator writes: first past the admission policy, which has to hold
//! whatever a role grants, then past the operator, which has to hold without the policy.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, events::v1::Event};
use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{App, Build, BuildPhase, Release};
use slipway_tests::{
    app::{READY, SOON, build_phase, is_ready, serves},
    case::{self, Case},
    docker, wait,
};

use super::bound;
use slipway_tests::app::image_app;

/// Everything on all of our kinds, for somebody who is no operator.
const MALLORY: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: mallory}
rules:
  - {apiGroups: [slipway.dev], resources: ['*'], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: mallory}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: mallory}
subjects:
  - {apiGroup: rbac.authorization.k8s.io, kind: User, name: mallory}
";

pub(super) fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// A record about an App, with the operator's labels; `owned` by it or by nobody.
fn record(app: &App, kind: &str, name: &str, owned: bool, spec: &Value) -> Value {
    let (app_name, uid) = (app.name_any(), app.uid().unwrap_or_default());
    let mut whole = json!({"app": {"name": app_name, "uid": uid}});
    if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
        whole.extend(spec.clone());
    }
    let reference = json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": app_name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    });
    let owners = if owned { vec![reference] } else { Vec::new() };
    json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": kind, "spec": whole,
        "metadata": {
            "name": name, "ownerReferences": owners, "labels": {
                "app.kubernetes.io/managed-by": "slipway", "slipway.dev/app": app_name, "slipway.dev/app-uid": uid,
            },
        },
    })
}

fn git() -> Value {
    json!({"url": "https://git.invalid/evil.git", "commit": "e".repeat(40)})
}

fn revision(app: &App) -> Value {
    let spec = json!({"by": "Poll", "git": git()});
    record(app, "Revision", "hello-forged", false, &spec)
}

/// A Build that runs in an image of this repository.
fn build(app: &App, name: &str, owned: bool, repository: &str) -> Value {
    let image = json!({"repository": repository, "digest": digest()});
    let spec = json!({
        "revision": "hello-forged", "cause": "forged", "timeout": "10m", "source": {"git": git()},
        "stack": {"name": "forged", "stackName": "forged", "buildImage": image, "runImage": image, "userId": 1000},
    });
    record(app, "Build", name, owned, &spec)
}

/// A Release of this image.
pub(super) fn release(app: &App, number: i64, owned: bool, image: &Value) -> Value {
    let spec = json!({
        "number": number, "cause": "forged", "inputs": "forged", "renderer": 1, "revision": "hello-forged",
        "revisionId": "forged", "configSecret": "hello-config-0000000000", "port": 5000, "podSecurity": "Restricted",
        "deadlines": {"deploy": "5m", "stop": "30s"}, "image": image,
        "processes": {"web": {"replicas": 1, "command": "evil"}},
    });
    let name = format!("hello-v{number}");
    record(app, "Release", &name, owned, &spec)
}

/// An App that serves, with the image that its pods have.
async fn serving(case: &Case) -> Result<(App, String)> {
    let app = image_app(case, "hello", "").await?;
    case.apply(&app).await?;
    let app = case.ready("hello").await?;
    Ok((app, image(case).await?))
}

async fn image(case: &Case) -> Result<String> {
    let deployment = case.api::<Deployment>().get("hello-web").await?;
    let template = deployment.spec.context("a spec")?.template;
    let container = template.spec.context("a pod")?.containers.remove(0);
    container.image.context("an image")
}
#[test]
fn nobody_but_the_operator_writes_records_and_statuses_whatever_his_role_grants() {
    case::run("hostile-policy", |case| async move {
        let (app, image) = serving(&case).await?;
        case.apply(MALLORY).await?;
        bound(&case, "mallory", "create", "releases").await?;
        let foreign =
            json!({"reference": format!("evil.invalid/x@{}", digest()), "external": true});
        for forged in [
            revision(&app),
            build(
                &app,
                "hello-forged",
                true,
                "slipway/slipway.dev/stacks/x/build",
            ),
            release(&app, 2, true, &foreign),
        ] {
            let kind = forged["kind"].as_str().context("a kind")?.to_owned();
            let create = ["create", "--filename=-"];
            let made = case
                .kubectl_as("mallory", &create, &forged.to_string())
                .await;
            refused(made).with_context(|| format!("create {kind}"))?;
        }
        let revisions = case.kubectl(&["get", "revisions", "--output=name"]).await?;
        let revision = revisions.trim().rsplit('/').next().context("a Revision")?;
        let failed = r#"{"status":{"phase":"Failed"}}"#;
        let elsewhere = r#"{"status":{"url":"https://evil.invalid"}}"#;
        let artifact = json!({"status": {"artifact": {"repository": "slipway/other/app", "digest": digest()}}}).to_string();
        let no_owner = r#"{"metadata":{"ownerReferences":null}}"#;
        let status = "--subresource=status";
        for row in [
            &[
                "patch",
                "release",
                "hello-v1",
                status,
                "--type=merge",
                "--patch",
                failed,
            ][..],
            &[
                "patch",
                "app",
                "hello",
                status,
                "--type=merge",
                "--patch",
                elsewhere,
            ],
            &[
                "patch",
                "revision",
                revision,
                status,
                "--type=merge",
                "--patch",
                &artifact,
            ],
            &[
                "patch",
                "release",
                "hello-v1",
                "--type=merge",
                "--patch",
                no_owner,
            ],
            &[
                "label",
                "--overwrite",
                "release",
                "hello-v1",
                "slipway.dev/app-uid=x",
            ],
        ] {
            let written = case.kubectl_as("mallory", row, "").await;
            refused(written).with_context(|| row.join(" "))?;
        }
        // What is his to do goes on.
        for row in [
            &["annotate", "release", "hello-v1", "note=seen"][..],
            &["scale", "app", "hello", "--replicas=2"],
        ] {
            let done = case.kubectl_as("mallory", row, "").await;
            done.with_context(|| row.join(" "))?;
        }
        let scaled = |app: &App| is_ready(app) && serves(app, "hello-v1");
        case.app_until("hello", SOON, "Ready with hello-v1", scaled)
            .await?;
        ensure!(self::image(&case).await? == image, "the image is another");
        Ok(())
    });
}

fn refused(outcome: Result<String>) -> Result<()> {
    let said = match outcome {
        Ok(said) => anyhow::bail!("it was taken: {said}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(said.contains("by the operator alone"), "{said}");
    Ok(())
}

/// The tests' own account may write records: so may somebody who turned the policy off.
#[test]
fn the_operator_ignores_what_it_did_not_make_also_without_the_policy() {
    case::run("hostile-records", |case| async move {
        let (app, image) = serving(&case).await?;
        let foreign =
            json!({"reference": format!("evil.invalid/x@{}", digest()), "external": true});
        let stolen = json!({"reference": format!("slipway/other/app@{}", digest())});
        let forged = [
            revision(&app),
            release(&app, 2, false, &foreign),
            release(&app, 3, true, &stolen),
            build(
                &app,
                "hello-orphan",
                false,
                "slipway/slipway.dev/stacks/x/build",
            ),
            build(&app, "hello-stolen", true, "slipway/other/app"),
        ];
        for object in &forged {
            case.apply(&object.to_string()).await?;
        }

        // Told by name, and nothing done for them.
        case.look_again("hello").await?;
        let wanted = [
            "Revision hello-forged is ignored: no App controls it",
            "Release hello-v2 is ignored: no App controls it",
            "Release hello-v3 is ignored: its spec.image.reference is",
        ];
        let told = |app: &App| {
            let notes = app.status.as_ref().map(|s| s.notes.join("\n"));
            let notes = notes.unwrap_or_default();
            // Of many no more than three are told one by one.
            wanted.iter().filter(|part| notes.contains(**part)).count() >= 2
        };
        let now = case
            .app_until("hello", SOON, "telling of forged records", told)
            .await?;
        ensure!(
            is_ready(&now) && serves(&now, "hello-v1"),
            "{:?}",
            now.status
        );
        ensure!(self::image(&case).await? == image, "the image is another");
        for number in [2, 3] {
            let release: Release = case.api().get(&format!("hello-v{number}")).await?;
            let begun = release.status.and_then(|status| status.started_at);
            ensure!(begun.is_none(), "hello-v{number} was rolled out");
        }

        // The Build without an owner never begins, and an Event of it says why.
        let event = async || {
            let events = case
                .api::<Event>()
                .list(&ListParams::default())
                .await?
                .items;
            let of_it = |e: &&Event| {
                e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some("hello-orphan")
            };
            let told = events
                .iter()
                .filter(of_it)
                .any(|e| e.reason.as_deref() == Some("RecordIgnored"));
            Ok(told.then_some(()))
        };
        wait::until_true(SOON, "an Event of the Build", event).await?;
        let orphan: Build = case.api().get("hello-orphan").await?;
        ensure!(build_phase(&orphan) == BuildPhase::Pending);
        // The one in another namespace's image is refused before anything is pulled.
        let over =
            |b: &Build| b.name_any() == "hello-stolen" && build_phase(b) == BuildPhase::Failed;
        let stolen = case.build_until("hello", SOON, "refused", over).await?;
        let status = serde_json::to_string(&stolen.status)?;
        ensure!(status.contains("slipway/other/app"), "{status}");
        for build in [&orphan, &stolen] {
            let label = format!("slipway.dev/build-uid={}", build.uid().context("a UID")?);
            let left = docker::left(&case.cluster.facts, &label).await?;
            ensure!(left.is_empty(), "on the engine: {left:?}");
        }

        // A log that is said to be in another App's repository is read for nobody.
        let log =
            json!({"status": {"log": {"repository": "slipway/other/app", "digest": digest()}}});
        let log = log.to_string();
        case.kubectl(&[
            "patch",
            "build",
            "hello-stolen",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &log,
        ])
        .await?;
        let answer = case.log("hello-stolen").await?;
        ensure!([404, 410].contains(&answer.status), "{answer:?}");

        // Rid of them, the App goes on as ever.
        for object in &forged {
            case.delete(&object.to_string()).await?;
        }
        let changed = image_app(&case, "hello", "  env: [{name: ROUND, value: two}]\n").await?;
        case.apply(&changed).await?;
        let round = |app: &App| is_ready(app) && !serves(app, "hello-v1");
        case.app_until("hello", READY, "Ready with the next release", round)
            .await?;
        case.answer("hello").await?;
        Ok(())
    });
}
