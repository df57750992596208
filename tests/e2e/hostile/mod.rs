//! What a stranger gets, one file an attack: against the operator as its chart limits it, by input that harms nobody.

mod git;
mod records;
mod registry;
mod roles;

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Result, ensure};
use slipway_tests::{app::SOON, case::Case, operator, wait};

/// More than the operator reads of one answer, and little enough for a program that keeps it all.
const TOO_MUCH: usize = 72 << 20;
/// What the operator's container may have, in MB: the chart's limit.
const LIMIT: f64 = 268.0;

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
async fn unharmed(case: &Case) -> Result<()> {
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
