//! When each of many objects was made, first had a status, and was as wanted: as a watch shows it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use futures::{StreamExt as _, pin_mut};
use kube::{
    Api, ResourceExt as _,
    api::DynamicObject,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;

use crate::dev::steps::note;

/// Between two words on how far it is.
const WORD: Duration = Duration::from_secs(15);

/// What was seen of all.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<String, Seen>);

#[derive(Debug)]
struct Seen {
    made: Instant,
    status: Option<Instant>,
    there: Option<Instant>,
}

impl Arrivals {
    fn see(
        &mut self,
        name: &str,
        status: Option<&Value>,
        wanted: fn(&Value) -> bool,
        now: Instant,
    ) {
        let seen = self.0.entry(name.to_owned()).or_insert(Seen {
            made: now,
            status: None,
            there: None,
        });
        let Some(status) = status else { return };
        seen.status.get_or_insert(now);
        if wanted(status) {
            seen.there.get_or_insert(now);
        }
    }

    fn there(&self) -> usize {
        self.0.values().filter(|seen| seen.there.is_some()).count()
    }

    /// When the last one was as wanted.
    pub(super) fn last(&self) -> Option<Instant> {
        self.0.values().filter_map(|seen| seen.there).max()
    }

    /// Seconds from being made to the first status: median and maximum.
    pub(super) fn first_status(&self) -> (f64, f64) {
        let waits = self.0.values().filter_map(|s| Some(s.status? - s.made));
        let mut waits: Vec<f64> = waits.map(|wait| wait.as_secs_f64()).collect();
        waits.sort_by(f64::total_cmp);
        let at = |index: usize| waits.get(index).copied().unwrap_or(f64::NAN);
        (at(waits.len() / 2), at(waits.len().wrapping_sub(1)))
    }
}

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
        // A watch that broke comes back by itself.
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
            let (made, there) = (arrivals.0.len(), arrivals.there());
            note(&format!("{made} made, {there} there"));
        }
    }
    Ok(arrivals)
}

/// Whether somebody wrote it: the API server gives a new object a status that says nothing yet.
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
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::{Arrivals, ready, says};

    #[test]
    fn a_status_that_the_api_server_gave_says_nothing() {
        assert!(!says(&json!({"observedGeneration": -1})));
        assert!(says(&json!({"conditions": [{"type": "Ready"}]})));
    }

    #[test]
    fn the_first_status_counts_and_the_wanted_one_ends_it() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let not_yet = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        let serves = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let mut arrivals = Arrivals::default();
        for name in ["a", "b", "c"] {
            arrivals.see(name, None, ready, begin);
        }
        arrivals.see("a", Some(&not_yet), ready, after(1));
        arrivals.see("a", Some(&serves), ready, after(4));
        arrivals.see("b", Some(&not_yet), ready, after(2));
        arrivals.see("c", Some(&serves), ready, after(6));
        assert_eq!((arrivals.there(), arrivals.last()), (2, Some(after(6))));
        assert_eq!(arrivals.first_status(), (2.0, 6.0));
    }
}
