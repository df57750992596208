//! Readers of logs who take nothing, and connections that say nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, future::join_all, stream};
use http::{Request, Response};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{Api, ResourceExt as _, api::PostParams, client::Body};
use serde_json::json;
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    cluster, docker, operator, wait,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};

use super::{Script, create, unharmed};

/// How many readers there are.
const MANY: usize = 300;
/// How many connections that say nothing there are, to each port of each replica: more than it holds.
const SILENT: usize = 160;
/// More than fits between a log and a reader who takes nothing; then nothing, until it is told to end.
pub(crate) const TALKS_ON: &str = "
for i in $(seq 60); do head -c 60000 /dev/zero | tr '\\0' x; echo; done
until test -e /tmp/enough; do sleep 0.2; done
";

/// A build that has said much, and goes on.
pub(crate) struct Talker(String);

impl Talker {
    pub(crate) fn of(build: &Build) -> Result<Self> {
        let uid = build.uid().context("a UID")?;
        Ok(Self(docker::container(&uid, "build")))
    }

    pub(crate) async fn end(self, case: &Case) -> Result<()> {
        let touch = ["exec", &self.0, "touch", "/tmp/enough"];
        docker::docker(&case.cluster.facts, &touch).await.map(drop)
    }
}

/// Lets everybody read the logs of a namespace; the path of one of them.
pub(crate) async fn log_for_all(case: &Case, namespace: &str, build: &str) -> Result<String> {
    let binding = serde_json::from_value(json!({
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
    }))?;
    let bindings: Api<RoleBinding> = Api::namespaced(case.cluster.client.clone(), namespace);
    bindings.create(&PostParams::default(), &binding).await?;
    let path = format!("/apis/logs.slipway.dev/v1alpha1/namespaces/{namespace}/builds/{build}/log");
    let may = async || {
        let anybody = case.cluster.as_user("anybody").await?;
        let answer = cluster::request(&anybody, &path).await?;
        Ok((answer.status == 200).then_some(()))
    };
    wait::until_true(SOON, "readable by all", may).await?;
    Ok(path)
}

/// Answers that nobody reads.
pub(crate) struct Readers {
    /// Open for as long as this is there.
    pub(crate) taken: Vec<Response<Body>>,
    /// Those who were sent away, by what they were told.
    pub(crate) refused: Vec<u16>,
}

/// Many readers of one log, of so many users.
pub(crate) async fn readers(case: &Case, path: &str, users: usize) -> Result<Readers> {
    let clients = (0..users).map(|user| {
        let user = format!("sleepy-{user}");
        async move { case.cluster.as_user(&user).await }
    });
    let clients: Vec<_> = join_all(clients).await.into_iter().collect::<Result<_>>()?;
    let asks = (0..MANY).map(|number| {
        let client = clients[number % users].clone();
        let path = format!("{path}?follow=true");
        async move {
            let request = Request::get(path).body(Body::empty())?;
            anyhow::Ok(client.send(request).await?)
        }
    });
    let answers: Vec<_> = stream::iter(asks).buffer_unordered(32).collect().await;
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for answer in answers {
        let answer = answer?;
        match answer.status().as_u16() {
            200 => taken.push(answer),
            other => refused.push(other),
        }
    }
    Ok(Readers { taken, refused })
}

/// Connections to each port of each replica that say nothing, until they are closed at the other end; how many are not
/// yet.
pub(crate) async fn silent(case: &Case) -> Result<(JoinSet<()>, Arc<Mutex<usize>>)> {
    let open = Arc::new(Mutex::new(0));
    let mut connections = JoinSet::new();
    for pod in operator::pods(&case.cluster).await? {
        let address = pod.status.and_then(|status| status.pod_ip);
        let address = address.context("the operator's pod has an address")?;
        for port in [8080, 8443] {
            let address: SocketAddr = format!("{address}:{port}").parse()?;
            for _ in 0..SILENT {
                let mut stream = TcpStream::connect(address).await?;
                let open = Arc::clone(&open);
                count(&open, 1);
                connections.spawn(async move {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    count(&open, -1);
                });
            }
        }
    }
    Ok((connections, open))
}

fn count(open: &Mutex<usize>, by: isize) -> usize {
    let mut open = open
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    *open = open.saturating_add_signed(by);
    *open
}

#[test]
fn readers_who_take_nothing_keep_nobody_else_waiting() {
    case::run("hostile-readers", |case| async move {
        let program = slipway_tests::dev::image::operator()?;
        let other = case.other_namespace().await?;
        let talks = Script::new(&format!("{}-talks", case.namespace), TALKS_ON)?;
        create(&case, &other, &talks.app("talks")).await?;
        let quick = Script::new(&format!("{}-quick", case.namespace), "echo the quick one\n")?;
        case.apply(&quick.app("quick")).await?;
        let builds = Api::<Build>::namespaced(case.cluster.client.clone(), &other);
        let building = |b: &Build| build_phase(b) == BuildPhase::Building;
        let build = wait::any(&builds, READY, "building", building).await?;
        let over = |b: &Build| build_phase(b).is_over();
        let quick = case.build_until("quick", READY, "over", over).await?;
        let path = log_for_all(&case, &other, &build.name_any()).await?;

        let replicas = operator::pods(&case.cluster).await?.len();
        // One user alone, then so many that only their namespace has a bound.
        for (users, most) in [(1, 8 * replicas), (50, 32 * replicas)] {
            let held = readers(&case, &path, users).await?;
            let taken = held.taken.len();
            ensure!((1..=most).contains(&taken), "{taken} of {users} users read");
            ensure!(
                held.refused.iter().all(|code| *code == 429),
                "{:?}",
                held.refused
            );
            let (connections, open) = silent(&case).await?;
            // Whoever wants another namespace's reads it, with each client.
            let reader = case.cluster.client.clone();
            let log = case.log_path(&quick.name_any());
            let read = cluster::request(&reader, &log);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            let read = read.context("the log of another namespace hangs")??;
            ensure!(
                read.status == 200 && read.body.contains("the quick one"),
                "{read:?}"
            );
            let output = tokio::process::Command::new(&program)
                .args([
                    "logs",
                    "build",
                    &quick.name_any(),
                    "--namespace",
                    &case.namespace,
                ])
                .env("KUBECONFIG", &case.cluster.facts.kubeconfig)
                .kill_on_drop(true)
                .output();
            let output = tokio::time::timeout(SOON, output).await;
            let output = output.context("slipway logs hangs")??;
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success() && text.contains("the quick one"),
                "{text}"
            );
            case.say(&format!("{users} users hold {taken} answers"));
            unharmed(&case).await?;
            // Who says nothing is sent away.
            let closed = async || Ok((count(&open, 0) == 0).then_some(()));
            wait::until_true(SOON, "rid of silent connections", closed).await?;
            drop((connections, held));
        }
        Talker::of(&build)?.end(&case).await
    });
}
