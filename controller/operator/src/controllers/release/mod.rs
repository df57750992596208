//! Releases of an App → what runs. Keyed by App: the target is the newest Release or, if it has failed, the last that
//! served.
//!
//! ```text
//! observe ─▶ plan (target, objects) ─▶ apply ─▶ evaluate the roll-out ─▶ status of the Releases ─▶ prune
//! ```
//!
//! When a Release fails, only its status changes; the next reconcile picks the last good Release as target and restores
//! it. So a crash between the two loses nothing. A Release that serves is still judged: if its pods fail, its status
//! says so, and it stays the target.

mod apply;
mod blocked;
mod departures;
mod error;
mod kind;
mod kinds;
mod observe;
mod observed;
mod plan;
mod roll;
mod scaling;
mod standing;
mod tell;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use kube::Client;
use slipway_crds::{conditions::Reason, v1alpha1::App};

use crate::controllers::{
    Wiring,
    caches::Caches,
    reconcile::{Outcome, Reconcile},
    release::{
        departures::{Departures, cut_off},
        error::Error,
        kinds::KINDS,
    },
    watches::Watches,
};
use slipway_core::{desired::Site, domain::repository::Repositories, settings::Settings};
use slipway_k8s::{
    FieldManager,
    cache::{Cache, Change},
    clock::Clock,
    events::{EventType, Publisher},
};
use slipway_telemetry::meters::DeployMeters;

/// Brings an App's newest good Release to run.
pub struct ReleaseController {
    client: Client,
    caches: Caches,
    site: Site,
    departures: Departures,
    repositories: Repositories,
    events: Publisher,
    clock: Clock,
    meters: DeployMeters,
}

impl ReleaseController {
    /// Made with the administrator's settings.
    pub fn new(wiring: &Wiring, settings: &Settings, clock: Clock, meters: DeployMeters) -> Self {
        Self {
            client: wiring.client.clone(),
            caches: wiring.caches.clone(),
            site: Site::of(settings),
            departures: Departures::default(),
            repositories: settings.registry.repositories(),
            events: wiring.events.clone(),
            clock,
            meters,
        }
    }
}

/// By then more may be known about why a Release is down.
const DOWN_AGAIN: Duration = Duration::from_mins(1);
/// How long a roll-out waits for further changes of its objects and pods.
pub(super) const MORE: Duration = Duration::from_millis(500);
/// The next reconcile starts going back, and reports what was refused during a roll-out.
const NEXT: Duration = Duration::from_secs(1);

impl Reconcile for ReleaseController {
    type Object = App;
    type Error = Error;
    const NAME: &'static str = "release";
    /// Replicas, volumes and names are enough: the rest is in the Release.
    const WHOLE: bool = false;

    fn watches(&self, watches: Watches<App>) -> Watches<App> {
        let (departures, clock) = (self.departures.clone(), Arc::clone(&self.clock));
        let caches = &self.caches;
        caches
            .pods
            .watched_by(move |pod, _| departures.see(pod, clock()));
        let (me, any) = (FieldManager::Release, Change::any);
        let watches = KINDS
            .iter()
            .fold(watches, |watches, kind| kind.watch(caches, watches));
        watches
            .on(caches.releases.changes(me, Change::by_others))
            .on_many(MORE, caches.replica_sets.changes(me, any))
            .on_many(MORE, caches.pods.changes(me, any))
            .on_many(MORE, caches.slices.changes(me, any))
    }

    fn cache(&self) -> &Cache<App> {
        &self.caches.apps
    }

    async fn reconcile(&self, app: Arc<App>) -> Result<Outcome, Error> {
        let departures = self.departures.take(&app);
        if app.metadata.deletion_timestamp.is_some() || app.spec.suspend {
            return Ok(Outcome::Done);
        }
        let observed =
            observe::observe(&self.client, &self.caches, &app, &self.repositories).await?;
        for note in cut_off(&departures, &observed.releases, &self.site.pods) {
            self.say(&app, EventType::Warning, Reason::DeadlineExceeded, &note)
                .await;
        }
        match self.roll(&app, &observed).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => self.blocked(&app, &observed, error).await,
        }
    }
}
