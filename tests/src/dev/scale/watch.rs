//! Watches many objects until all of them are as wanted.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, ResourceExt as _,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;

use crate::dev::{scale::arrivals::Arrivals, steps::note};

/// Interval between two lines about the progress.
const WORD: Duration = Duration::from_secs(15);

/// Watches until so many are as wanted; an error after `limit` says how many are not.
pub(super) async fn watch(
    api: Api<DynamicObject>,
    selector: &str,
    count: usize,
    wanted: fn(&Value) -> bool,
    limit: Duration,
) -> Result<Arrivals> {
    let config = watcher::Config::default().fields(selector);
    let changes = watcher(api, config).default_backoff().applied_objects();
    pin_mut!(changes);
    let mut arrivals = Arrivals::default();
    let begin = Instant::now();
    let mut next = WORD;
    while arrivals.there() < count {
        let left = limit.saturating_sub(begin.elapsed());
        let Ok(Some(object)) = tokio::time::timeout(left, changes.next()).await else {
            let there = arrivals.there();
            return Err(anyhow!("{there} of {count} are there after {limit:?}"));
        };
        // A broken watch is restarted by itself.
        let Ok(object) = object else { continue };
        let name = format!(
            "{}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        );
        let status = object.data.get("status").filter(|status| says(status));
        arrivals.see(&name, status, wanted, Instant::now());
        if begin.elapsed() > next {
            next = begin.elapsed() + WORD;
            let (made, there) = (arrivals.made(), arrivals.there());
            note(&format!("{made} made, {there} there"));
        }
    }
    Ok(arrivals)
}

/// Whether a controller has written the status: the API server gives a new object an empty one.
fn says(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| !conditions.is_empty())
}

/// An App that serves.
pub(super) fn ready(status: &Value) -> bool {
    condition(status, "Ready")
}

/// A Deployment whose pods serve.
pub(super) fn available(status: &Value) -> bool {
    condition(status, "Available")
}

fn condition(status: &Value, kind: &str) -> bool {
    let all = status.get("conditions").and_then(Value::as_array);
    all.into_iter().flatten().any(|condition| {
        condition.get("type").is_some_and(|value| value == kind)
            && condition.get("status").is_some_and(|value| value == "True")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::says;

    #[test]
    fn a_status_that_the_api_server_gave_says_nothing() {
        assert!(!says(&json!({"observedGeneration": -1})));
        assert!(says(&json!({"conditions": [{"type": "Ready"}]})));
    }
}
