//! The demo: deploys two apps from a git repository in the cluster and shows their answers, for somebody who is new to
//! the project.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use slipway_crds::{conditions::types, v1alpha1::App};

use crate::{
    app,
    cluster::Cluster,
    dev::{
        image,
        steps::{note, step},
    },
    git, root, wait,
};

/// Namespace of the demo.
const NAMESPACE: &str = "demo";
/// App and fixture.
const APPS: [(&str, &str); 2] = [("hello-python", "python"), ("hello-node", "node")];
/// Node port of the git server, from the range that Kubernetes does not hand out at random (KEP-3668).
const GIT_PORT: u16 = 30_018;
const LIMIT: Duration = Duration::from_mins(10);

/// The whole demo.
pub fn demo() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

async fn run() -> Result<()> {
    let cluster = Cluster::connect().await?;
    step("Starting a git server in the cluster");
    kubectl(&cluster, &git_server(&cluster)?)?;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(cluster.client.clone(), NAMESPACE);
    let answers = |d: &k8s_openapi::api::apps::v1::Deployment| {
        let status = d.status.clone().unwrap_or_default();
        status.observed_generation == d.metadata.generation && status.ready_replicas == Some(1)
    };
    wait::until(&deployments, "git", LIMIT, "Ready", answers).await?;

    for (name, _) in APPS {
        let yaml = manifest(&cluster, name);
        step(&format!("kubectl apply: the App {name}"));
        yaml.lines().for_each(note);
        kubectl(&cluster, &yaml)?;
    }
    let apps: Api<App> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let all = APPS.map(|(name, _)| follow(&apps, name));
    futures::future::try_join_all(all).await?;

    step("kubectl get apps,revisions,builds,releases");
    let objects = ["get", "apps,revisions,builds,releases"];
    said(kubectl_command(&cluster).args(objects))?;
    for (name, _) in APPS {
        let app = apps.get(name).await?;
        let url = app
            .status
            .and_then(|s| s.url)
            .with_context(|| format!("{name} has no URL in its status"))?;
        step(&format!("curl {url}"));
        said(Command::new("curl").args([
            "--fail",
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            &url,
        ]))?;
    }
    step("The cluster goes on running");
    note(&format!("export KUBECONFIG={}", cluster.facts.kubeconfig));
    note(&format!("export PATH={}:$PATH", cluster.facts.bin_dir));
    note(&format!(
        "kubectl --namespace {NAMESPACE} describe app {}",
        APPS[0].0
    ));
    note("make demo-down    takes everything down");
    Ok(())
}

fn manifest(cluster: &Cluster, name: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  source: {{git: {{url: 'git://{}:{GIT_PORT}/{name}.git', ref: main}}}}
",
        cluster.facts.node_address
    )
}

/// Prints an App's status until it is Ready.
async fn follow(apps: &Api<App>, name: &str) -> Result<()> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let changes = watcher(apps.clone(), only)
        .default_backoff()
        .applied_objects();
    pin_mut!(changes);
    let mut last = String::new();
    let until_ready = async {
        while let Some(app) = changes.next().await {
            let Ok(app) = app else { continue };
            let says = app::says(&app, types::READY);
            if says != last {
                note(&format!("{name}: {says}"));
                last = says;
            }
            if app::is_ready(&app) {
                return Ok(());
            }
        }
        bail!("{name}: the watch ended")
    };
    tokio::time::timeout(LIMIT, until_ready)
        .await
        .with_context(|| format!("{name} is not Ready after {} s", LIMIT.as_secs()))?
}

/// A git server with a repository for each App. It runs in the operator's image, which has git.
fn git_server(cluster: &Cluster) -> Result<String> {
    let mut repositories = BTreeMap::new();
    for (name, fixture) in APPS {
        repositories.insert(format!("{name}.tar"), repository(fixture)?);
    }
    let labels = json!({"app": "git"});
    let image = image::last()?;
    let image = format!(
        "{}/{}@{}",
        cluster.facts.registry.pull, image.repository, image.digest
    );
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let unpack = "cd /srv && for t in /repositories/*.tar; do n=$(basename $t .tar); mkdir -p $n.git && tar -C $n.git --no-same-owner -xf $t; done";
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "git", "namespace": NAMESPACE}, "binaryData": repositories},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "git", "namespace": NAMESPACE},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 9418, "nodePort": GIT_PORT}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "git", "namespace": NAMESPACE}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "initContainers": [{"name": "unpack", "image": image, "command": ["sh", "-ec", unpack], "securityContext": restricted,
                    "volumeMounts": [{"name": "repositories", "mountPath": "/repositories"}, {"name": "srv", "mountPath": "/srv"}]}],
                "containers": [{"name": "git", "image": image, "securityContext": restricted,
                    "command": ["git", "daemon", "--reuseaddr", "--export-all", "--base-path=/srv", "/srv"],
                    "ports": [{"containerPort": 9418}],
                    "readinessProbe": {"tcpSocket": {"port": 9418}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "srv", "mountPath": "/srv"}]}],
                "volumes": [{"name": "repositories", "configMap": {"name": "git"}}, {"name": "srv", "emptyDir": {}}]
            }}
        }}
    ]});
    Ok(objects.to_string())
}

/// A bare repository with the fixture as its only commit, as a tar archive in base64.
fn repository(fixture: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (work, bare) = (folder.path().join("work"), folder.path().join("bare"));
    crate::fixtures::copy_to(&root().join("tests/fixtures/apps").join(fixture), &work)?;
    git::git(&work, &["init", "--quiet", "--initial-branch=main"])?;
    git::git(&work, &["add", "--all"])?;
    git::git(&work, &["commit", "--quiet", "--message", "hello"])?;
    let (from, to) = (work.to_string_lossy(), bare.to_string_lossy());
    git::git(folder.path(), &["clone", "--quiet", "--bare", &from, &to])?;
    // The sample hooks are not needed.
    std::fs::remove_dir_all(bare.join("hooks"))?;
    let tar = Command::new("tar")
        .arg("-C")
        .arg(&bare)
        .args(["-c", "."])
        .output()
        .context("tar")?;
    Ok(base64::engine::general_purpose::STANDARD.encode(tar.stdout))
}

fn kubectl_command(cluster: &Cluster) -> Command {
    let mut command = Command::new(format!("{}/kubectl", cluster.facts.bin_dir));
    command
        .arg(format!("--kubeconfig={}", cluster.facts.kubeconfig))
        .arg(format!("--namespace={NAMESPACE}"));
    command
}

fn kubectl(cluster: &Cluster, objects: &str) -> Result<()> {
    use std::io::Write as _;
    let mut child = kubectl_command(cluster)
        .args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename=-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("kubectl")?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(objects.as_bytes())?;
    if !child.wait()?.success() {
        bail!("kubectl apply failed");
    }
    Ok(())
}

/// Runs a program and shows its output.
fn said(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .for_each(note);
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
