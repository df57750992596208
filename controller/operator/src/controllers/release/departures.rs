//! Terminating pods → processes that used all of the time that they have to stop. What they were still doing was cut
//! off, and no object that is left says so.
//!
//! A pod is removed when its containers have ended. The metadata watch shows the removal and the time at which the
//! deletion was requested, but not how the containers ended.

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

/// A pod that takes longer than this on top did not run out of time: its node is gone.
const NODE: SignedDuration = SignedDuration::from_secs(15);

/// Most Apps, and most pods of each, that are remembered: an App that is gone is never reconciled again, so nothing
/// takes its entries.
const MOST: usize = 512;

/// A terminating pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    process: String,
    release: String,
    /// How long it has been terminating.
    took: SignedDuration,
}

/// Namespace and name of an App.
type Key = (String, String);

/// Terminating pods by App, since the App's last reconcile.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(Arc<Mutex<BTreeMap<Key, Vec<Departure>>>>);

impl Departures {
    /// Notes a pod that changed or was removed.
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

    /// Takes the pods of `app`; a second call returns none.
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

/// What is reported about processes that were cut off. `site` is used for Releases that do not record their own.
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

/// The time from a pod's deletion request until it is killed.
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
        // `deletionTimestamp` is the time of the request plus the grace period, which is 0 once the node is done.
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
            // The node is gone.
            ("worker", 10, 40, false),
            // The drain time comes first.
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
            // Only once.
            assert!(departures.take(&app).is_empty());
        }
        // A pod whose deletion nobody requested.
        let departures = Departures::default();
        let mut stays = pod("web", 0);
        stays.deletion_timestamp = None;
        departures.see(&stays, asked);
        assert!(departures.take(&app).is_empty());
    }
}
