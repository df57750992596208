//! What a stranger gets, one file an attack: against the operator as its chart limits it, by input that harms nobody.

mod curious;
pub(crate) mod flood;
pub(crate) mod git;
pub(crate) mod greedy;
pub(crate) mod readers;
mod records;
pub(crate) mod registry;
mod roles;

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Result, ensure};
use kube::{Api, api::PostParams};
use slipway_crds::v1alpha1::App;
use slipway_tests::{
    app::SOON,
    case::Case,
    fixtures,
    git::{Repository, Server},
    operator, wait,
};

use slipway_tests::app::git_app;

/// More than the operator reads of one answer, and little enough for a program that keeps it all.
const TOO_MUCH: usize = 72 << 20;
/// What the operator's container may have: the chart's 256 MiB, as the kernel counts in thousands of kB.
const LIMIT: f64 = 262.0;

/// A server on the node that does this with each connection, until the tests end; its address.
fn server(
    case: &Case,
    answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> Result<String> {
    let listener = TcpListener::bind((case.cluster.facts.node_address.as_str(), 0))?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // Whoever asks may break off at any time.
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address.to_string())
}

/// What must be true of the operator during and after each attack.
pub(crate) async fn unharmed(case: &Case) -> Result<()> {
    let (now, most) = (
        operator::memory(&case.cluster).await?,
        operator::peak_memory(&case.cluster).await?,
    );
    case.say(&format!(
        "the operator's memory: {now:.0?} MB, at most {most:.0?} MB"
    ));
    ensure!(most.iter().all(|mb| *mb < LIMIT), "{most:?}");
    for pod in operator::pods(&case.cluster).await? {
        let status = pod.status.unwrap_or_default();
        let mut containers = status.container_statuses.unwrap_or_default();
        let killed = containers.drain(..).find_map(|c| c.last_state?.terminated);
        ensure!(killed.is_none(), "a container ended: {killed:?}");
    }
    Ok(())
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

/// Makes an App in any namespace; one of the size that kubectl can apply, and larger ones.
pub(crate) async fn create(case: &Case, namespace: &str, app: &str) -> Result<()> {
    let api: Api<App> = Api::namespaced(case.cluster.client.clone(), namespace);
    let app = serde_yaml::from_str(app)?;
    api.create(&PostParams::default(), &app).await?;
    Ok(())
}

/// A repository that is built by a script of its own.
pub(crate) struct Script {
    /// What is built.
    pub(crate) source: Repository,
    pack: Repository,
}

impl Script {
    /// `name` is the repository's, and nobody else's.
    pub(crate) fn new(name: &str, script: &str) -> Result<Self> {
        let pack = fixtures::pack(&format!("{name}-pack"), "asks")?;
        let source = Server::shared()?.repository(name)?;
        source.write("pack/compile", script)?;
        source.write("Procfile", "worker: sleep infinity\n")?;
        // What is built needs no room to run in.
        source.write("app.json", r#"{"formation": {"worker": {"quantity": 0}}}"#)?;
        source.commit("a script")?;
        Ok(Self { source, pack })
    }

    /// An App of it; `build` is the last of its fields.
    pub(crate) fn app(&self, name: &str) -> String {
        let app = git_app(name, &self.source.url);
        format!(
            "{app}  build:\n    buildpacks: ['{}#main']\n",
            self.pack.url
        )
    }
}
