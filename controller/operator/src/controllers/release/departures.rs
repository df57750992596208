//! Pods that go → processes that took all the time that they have to stop: what they still did then was cut off, and no
//! object is left that says so.
//!
//! A pod's removal is the end of its containers. The watch shows it by its metadata, in which the time at which it was
//! asked to go is; what its containers ended with is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use slipway_crds::{
    labels,
    v1alpha1::{App, Duration, Release, ReleaseSite},
};

use slipway_core::domain::{app::STOP, checks::WEB};

/// What takes longer than this besides is no process, but a node that is gone.
const NODE: SignedDuration = SignedDuration::from_secs(15);

/// Most Apps, and most pods of each, that are kept in mind: one that is gone is looked at no more.
const MOST: usize = 512;

/// A pod that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    process: String,
    release: String,
    /// For how long it has been so.
    took: SignedDuration,
}

/// Namespace and name of an App.
type Key = (String, String);

/// Pods that go, by their App, since it was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(Arc<Mutex<BTreeMap<Key, Vec<Departure>>>>);

impl Departures {
    /// Takes down a pod that changed or went.
    pub(super) fn see(&self, pod: &ObjectMeta, now: Timestamp) {
        if let Some((key, departure)) = departure(pod, now) {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MOST {
                all.clear();
            }
            let of_app = all.entry(key).or_default();
            of_app.truncate(MOST);
            of_app.push(departure);
        }
    }

    /// Those of `app`, once.
    pub(super) fn take(&self, app: &App) -> Vec<Departure> {
        let key = (app.namespace().unwrap_or_default(), app.name_any());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&key).unwrap_or_default()
    }
}

fn departure(pod: &ObjectMeta, now: Timestamp) -> Option<(Key, Departure)> {
    let going = pod.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(pod.deletion_grace_period_seconds.unwrap_or_default());
    let asked = going.checked_sub(grace).ok()?;
    let label = |name: &str| pod.labels.as_ref()?.get(name).cloned();
    let departure = Departure {
        process: label(labels::PROCESS)?,
        release: label(labels::RELEASE)?,
        took: now.duration_since(asked),
    };
    Some(((pod.namespace.clone()?, label(labels::APP)?), departure))
}

/// What is told of processes that were cut off. `site` is that of Releases that do not keep theirs.
pub(super) fn cut_off(
    departures: &[Departure],
    releases: &[Release],
    site: &ReleaseSite,
) -> BTreeSet<String> {
    departures
        .iter()
        .filter_map(|departure| {
            let mut releases = releases.iter();
            let release = releases.find(|r| r.spec.number.to_string() == departure.release)?;
            let stop = release.spec.deadlines.stop.unwrap_or(STOP);
            let whole = whole(release, &departure.process, stop, site);
            let cut_off = departure.took >= whole && departure.took <= whole.saturating_add(NODE);
            cut_off.then(|| {
                format!(
                    "{} of {} took all of its {stop} to stop, and what still ran then was killed: end it on SIGTERM, or give it longer with spec.deadlines.stop",
                    departure.process,
                    release.name_any()
                )
            })
        })
        .collect()
}

/// How long a pod has from when it is asked to go until it is killed.
fn whole(release: &Release, process: &str, stop: Duration, site: &ReleaseSite) -> SignedDuration {
    let site = release.spec.site.as_ref().unwrap_or(site);
    let drain = if process == WEB {
        site.drain_seconds
    } else {
        0
    };
    let stop = i64::try_from(stop.as_secs()).unwrap_or(i64::MAX);
    SignedDuration::from_secs(stop.saturating_add(drain))
}

#[cfg(test)]
mod tests {
    use super::{Departures, cut_off};
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;
    use slipway_crds::v1alpha1::{App, Release, ReleaseSite, ReleaseSpec};

    #[test]
    fn a_process_that_takes_all_its_time_to_stop_was_cut_off() {
        let asked = Timestamp::from_second(1_767_225_600).unwrap();
        let app: App = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "namespace": "team"},
            "spec": {"source": {"image": {"reference": "i"}}},
        }))
        .unwrap();
        let mut spec = ReleaseSpec {
            number: 2,
            ..ReleaseSpec::default()
        };
        spec.deadlines.stop = Some("10s".parse().unwrap());
        let release = Release::new("hello-v2", spec);
        let site = ReleaseSite {
            drain_seconds: 5,
            ..ReleaseSite::default()
        };
        // The API server counts from when it was asked: while it waits for the node, and when the node is done.
        let pod = |process: &str, grace: i64| -> ObjectMeta {
            serde_json::from_value(json!({
                "name": "x", "namespace": "team",
                "labels": {"slipway.dev/app": "hello", "slipway.dev/process": process, "slipway.dev/release": "2"},
                "deletionTimestamp": (asked + SignedDuration::from_secs(grace)).to_string(),
                "deletionGracePeriodSeconds": grace,
            }))
            .unwrap()
        };
        for (process, grace, seconds, told) in [
            ("worker", 0, 3, false),
            ("worker", 0, 11, true),
            ("worker", 10, 11, true),
            // A node that is gone.
            ("worker", 10, 40, false),
            // Traffic goes elsewhere first.
            ("web", 0, 11, false),
            ("web", 15, 16, true),
        ] {
            let departures = Departures::default();
            let now = asked + SignedDuration::from_secs(seconds);
            departures.see(&pod(process, grace), now);
            let found = departures.take(&app);
            let said = cut_off(&found, std::slice::from_ref(&release), &site);
            assert_eq!(
                said.len(),
                usize::from(told),
                "{process} {seconds}: {said:?}"
            );
            let start = format!("{process} of hello-v2 took all of its 10s to stop");
            assert!(said.iter().all(|said| said.starts_with(&start)), "{said:?}");
            // Once.
            assert!(departures.take(&app).is_empty());
        }
        // One that nobody asked to go.
        let departures = Departures::default();
        let mut stays = pod("web", 0);
        stays.deletion_timestamp = None;
        departures.see(&stays, asked);
        assert!(departures.take(&app).is_empty());
    }
}
