//! What a stranger gets: servers that answer without end or never, and namespaces that ask for more than their share,
//! against the operator as its chart limits it. And what somebody gets who writes records and statuses himself: first past the admission policy, which has to hold
//! whatever a role grants, then past the operator, which has to hold without the policy. And what the cluster's own
//! roles let people do.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, events::v1::Event};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, BuildPhase, Release},
};
use slipway_tests::{
    app::{READY, SOON, build_phase, is_ready, says, serves},
    case::{self, Case},
    docker, fixtures, operator, wait,
};

use crate::sources::{git_app, image_app};

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

fn digest() -> String {
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
fn release(app: &App, number: i64, owned: bool, image: &Value) -> Value {
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

/// Waits until a user has a right that was just bound.
async fn bound(case: &Case, user: &str, verb: &str, resource: &str) -> Result<()> {
    wait::until_true(SOON, &format!("{user} may {verb} {resource}"), || async {
        Ok(may(case, user, verb, resource, None).await?.then_some(()))
    })
    .await
}

/// What the API server says a user may do in the case's namespace.
async fn may(
    case: &Case,
    user: &str,
    verb: &str,
    resource: &str,
    subresource: Option<&str>,
) -> Result<bool> {
    let resource = format!("{resource}.slipway.dev");
    let subresource = subresource.map(|name| format!("--subresource={name}"));
    let mut question = vec!["auth", "can-i", verb, &resource];
    question.extend(subresource.as_deref());
    match case.kubectl_as(user, &question, "").await {
        Ok(_) => Ok(true),
        // kubectl says so with an exit code, too.
        Err(error) if format!("{error:#}").contains("no\n") => Ok(false),
        Err(error) => Err(error),
    }
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

#[test]
fn the_clusters_own_roles_let_nobody_write_history() {
    case::run("hostile-roles", |case| async move {
        for role in ["view", "edit", "admin"] {
            let (name, role_of) = (format!("{role}ers"), format!("--clusterrole={role}"));
            let user = format!("--user={role}er");
            case.kubectl(&["create", "rolebinding", &name, &role_of, &user])
                .await?;
            bound(&case, &format!("{role}er"), "get", "apps").await?;
        }
        // Verb, resource, subresource; whether view, edit and admin may.
        let rows = [
            ("get", "apps", None, [true, true, true]),
            ("list", "builds", None, [true, true, true]),
            ("get", "releases", Some("status"), [true, true, true]),
            ("create", "apps", None, [false, true, true]),
            ("patch", "apps", Some("scale"), [false, true, true]),
            ("patch", "builds", None, [false, true, true]),
            ("delete", "releases", None, [false, true, true]),
            ("create", "revisions", None, [false; 3]),
            ("create", "builds", None, [false; 3]),
            ("create", "releases", None, [false; 3]),
            ("patch", "revisions", None, [false; 3]),
            ("update", "releases", None, [false; 3]),
            ("patch", "apps", Some("status"), [false; 3]),
            ("update", "builds", Some("status"), [false; 3]),
            ("patch", "releases", Some("status"), [false; 3]),
            ("patch", "revisions", Some("status"), [false; 3]),
            ("create", "stacks", None, [false; 3]),
            ("patch", "stacks", None, [false; 3]),
        ];
        for (verb, resource, subresource, allowed) in rows {
            for (role, wanted) in ["view", "edit", "admin"].into_iter().zip(allowed) {
                let found = may(&case, &format!("{role}er"), verb, resource, subresource).await?;
                let what = subresource.map_or_else(String::new, |s| format!("/{s}"));
                ensure!(
                    found == wanted,
                    "{role}: {verb} {resource}{what} is {found}"
                );
            }
        }
        // And by doing: an editor who makes a Release by hand is stopped before the policy has a say.
        let app: App = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "uid": "1"},
            "spec": {"source": {"image": {"reference": "x"}}},
        }))?;
        let image = json!({"reference": format!("evil.invalid/x@{}", digest()), "external": true});
        let forged = release(&app, 1, false, &image).to_string();
        let made = case
            .kubectl_as("editer", &["create", "--filename=-"], &forged)
            .await;
        let said = made
            .err()
            .map(|error| format!("{error:#}"))
            .context("it was taken")?;
        ensure!(said.contains("forbidden"), "{said}");
        Result::Ok(())
    });
}

/// More than the operator reads of one answer, and little enough for a program that keeps it all.
const TOO_MUCH: usize = 72 << 20;
/// What the operator's container may have, in MB: the chart's limit.
const LIMIT: f64 = 268.0;

/// A server on the node that does this with each connection, until the tests end; its address.
fn server(case: &Case, answer: fn(TcpStream) -> std::io::Result<()>) -> Result<String> {
    let listener = TcpListener::bind((case.cluster.facts.node_address.as_str(), 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever asks may break off at any time.
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address.to_string())
}

/// A list of branches that goes on for longer than anybody reads.
fn endless(mut stream: TcpStream) -> std::io::Result<()> {
    // The request is of no interest, but a connection that is closed before it was read is reset.
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n001e# service=git-upload-pack\n0000",
    )?;
    let mut sent = 0;
    for number in 0.. {
        let line = format!("{} refs/heads/b{number:08}\n", "e".repeat(40));
        let packet = format!("{:04x}{line}", line.len() + 4);
        stream.write_all(packet.as_bytes())?;
        sent += packet.len();
        if sent > TOO_MUCH {
            break;
        }
    }
    Ok(())
}

/// Takes a connection, and never says a word.
fn silent(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

#[test]
fn git_servers_without_end_or_word_cost_nobody_else_anything() {
    case::run("hostile-git", |case| async move {
        let (endless, silent) = (server(&case, endless)?, server(&case, silent)?);
        let other = case.other_namespace().await?;
        let api: Api<App> = Api::namespaced(case.cluster.client.clone(), &other);
        for number in 0..12 {
            let (kind, address) = if number % 3 == 0 {
                ("endless", &endless)
            } else {
                ("silent", &silent)
            };
            let url = format!("http://{address}/{number}.git");
            let app = serde_yaml::from_str(&git_app(&format!("{kind}-{number}"), &url))?;
            api.create(&PostParams::default(), &app).await?;
        }
        // Whoever has a server that answers waits for none of these.
        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let found = |app: &App| says(app, types::SOURCE_READY).starts_with("True");
        case.app_until("hello", SOON, "with a source", found)
            .await?;

        for (app, wanted) in [
            ("endless-0", "is longer than the 64 MB that are read"),
            ("silent-1", "no whole answer in"),
        ] {
            let told = |app: &App| says(app, types::SOURCE_READY).contains(wanted);
            wait::until(&api, app, READY, wanted, told).await?;
        }
        let memory = operator::memory(&case.cluster).await?;
        case.say(&format!("the operator's memory: {memory:?} MB"));
        ensure!(memory.iter().all(|mb| *mb < LIMIT), "{memory:?}");
        for pod in operator::pods(&case.cluster).await? {
            let status = pod.status.unwrap_or_default();
            let mut containers = status.container_statuses.unwrap_or_default();
            let killed = containers.drain(..).find_map(|c| c.last_state?.terminated);
            ensure!(killed.is_none(), "a container ended: {killed:?}");
        }
        Ok(())
    });
}
