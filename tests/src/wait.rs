//! Waits with a deadline for what a watch shows. Nothing here sleeps for a fixed time before it looks.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures::{Stream, StreamExt as _, pin_mut};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, serde::de::DeserializeOwned};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watch_object, watcher},
    },
};
use tokio::time::Instant;

/// Delay between two requests.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time of one request: the client itself retries, with growing delays, if the server is unavailable.
const ASK: Duration = Duration::from_secs(20);

/// Waits until the object fulfils a condition, and returns it.
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    limit: Duration,
    what: &str,
    wanted: impl Fn(&K) -> bool + Send,
) -> Result<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + serde::Serialize + 'static,
{
    let changes = states(api, name);
    pin_mut!(changes);
    let found = async {
        while let Some(object) = changes.next().await {
            if let Some(object) = object.filter(&wanted) {
                return Some(object);
            }
        }
        None
    };
    if let Ok(Some(found)) = tokio::time::timeout(limit, found).await {
        return Ok(found);
    }
    let now = api.get_opt(name).await?.map(|object| status(&object));
    let now = now.unwrap_or_else(|| "there is none".to_owned());
    let seconds = limit.as_secs();
    Err(anyhow!("{name}: not {what} within {seconds} s; now: {now}"))
}

/// Waits until some object fulfils a condition, and returns it.
pub async fn any<K>(
    api: &Api<K>,
    limit: Duration,
    what: &str,
    wanted: impl Fn(&K) -> bool + Send,
) -> Result<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let changes = watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    pin_mut!(changes);
    let found = async {
        while let Some(object) = changes.next().await {
            if let Ok(object) = object
                && wanted(&object)
            {
                return Some(object);
            }
        }
        None
    };
    let found = tokio::time::timeout(limit, found).await.ok().flatten();
    found.with_context(|| format!("none is {what} within {} s", limit.as_secs()))
}

/// Waits until there is no such object.
pub async fn until_gone<K>(api: &Api<K>, name: &str, limit: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let there = states(api, name).take_while(|object| std::future::ready(object.is_some()));
    tokio::time::timeout(limit, there.for_each(async |_| ()))
        .await
        .with_context(|| format!("{name} is still there after {} s", limit.as_secs()))
}

/// The successive states of the object; `None` while it does not exist. A broken watch is restarted by itself.
fn states<K>(api: &Api<K>, name: &str) -> impl Stream<Item = Option<K>> + use<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    watch_object(api.clone(), name)
        .default_backoff()
        .filter_map(async |object| object.ok())
}

/// Asks again and again until there is an answer; for what has no watch.
pub async fn until_true<T, F>(limit: Duration, what: &str, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    until_true_every(PAUSE, limit, what, ask).await
}

/// The same, with another delay between two requests; for what is true only for a moment.
pub async fn until_true_every<T, F>(
    pause: Duration,
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let ends = Instant::now() + limit;
    let mut last = None;
    loop {
        let answer = tokio::time::timeout_at(ends.min(Instant::now() + ASK), ask()).await;
        match answer.context("no answer in time") {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => last = None,
            Ok(Err(error)) => last = Some(error),
            // An earlier error says more than a timeout.
            Err(late) => last = last.or(Some(late)),
        }
        if Instant::now() >= ends {
            let said = last.map(|e| format!("; the last error: {e:#}"));
            return Err(anyhow!(
                "not {what} within {} s{}",
                limit.as_secs(),
                said.unwrap_or_default()
            ));
        }
        tokio::time::sleep(pause).await;
    }
}

/// The condition of this type.
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Whether the condition of this type is `True`.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    condition(conditions, kind).is_some_and(|c| c.status == "True")
}

fn status<K: serde::Serialize>(object: &K) -> String {
    serde_json::to_value(object)
        .ok()
        .and_then(|v| v.get("status").cloned())
        .map_or_else(|| "no status".to_owned(), |s| format!("{s:#}"))
}
