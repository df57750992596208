//! Releases of an App → what runs. Keyed by App: the newest Release is the target or, where it has failed, the last
//! that served.
//!
//! ```text
//! observe ─▶ plan (target, objects) ─▶ apply ─▶ evaluate the roll-out ─▶ status of the Releases ─▶ prune
//! ```
//!
//! A Release that fails is only said to have failed; the next look finds the last good one to be the target, and puts
//! it back. So a crash between the two loses nothing. One that has served is judged on: where its pods are not there any
//! more, it says so, and stays the target.

mod apply;
mod departures;
mod endpoints;
mod lines;
mod observe;
mod observed;
mod plan;
mod pods;
mod rollout;
mod scaling;
mod seen;
mod serving;
mod status;
#[cfg(test)]
mod tests;
mod trouble;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{Client, Resource as _, ResourceExt as _};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Release, ReleasePhase},
};

use crate::controllers::{
    Outcome, Reconcile, Wiring,
    caches::Caches,
    release::{
        departures::{Departures, cut_off},
        lines::Secrets,
        observed::Observed,
        plan::{Plan, Target},
        rollout::Verdict,
        seen::Seen,
        serving::Standing,
        status::Finding,
        trouble::Trouble,
    },
    watches::{Watches, keep_name},
};
use slipway_base::{
    error::{Class, Classify},
    text::last_words,
};
use slipway_core::{
    desired::{Applied, Objects, Site, UnknownRenderer},
    domain::repository::Repositories,
    settings::Settings,
};
use slipway_k8s::clock::Clock;
use slipway_k8s::{
    FieldManager,
    apply::ApplyError,
    cache::{Cache, Change},
    classify,
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
    /// With what an administrator has set.
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

/// Why an App's Releases could not be looked after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error("cannot read the App's {what}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// An object could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An object could not be deleted.
    #[error("cannot delete {name}")]
    Delete {
        /// Which.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// An object of the wanted name is being deleted.
    #[error("{kind} {name} is being deleted; it is made again when it has gone")]
    Going {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A claim cannot be changed as the App's storage asks.
    #[error(
        "the claim {name} cannot be changed as spec.storage asks, and stays as it is: {why}. Put the entry back, or add another one and move the data"
    )]
    Claim {
        /// Which.
        name: String,
        /// What the API server says.
        why: String,
    },
    /// A Release cannot be read: which one has to run is not known, and what runs is left as it is.
    #[error("{0}")]
    Unreadable(String),
    /// The Release is a newer operator's.
    #[error(transparent)]
    Renderer(#[from] UnknownRenderer),
}

impl Error {
    fn read(what: &'static str, source: kube::Error) -> Self {
        Self::Read {
            what,
            source: Box::new(source),
        }
    }

    /// Whether the API server understood and said no: the object is invalid, or a quota or an admission rule is
    /// against it.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Apply(ApplyError::Api { source, .. })
            if matches!(&**source, kube::Error::Api(status) if matches!(status.code, 403 | 422)))
    }

    /// Whether the API server, or an admission rule that it asks, is out of order.
    fn is_fault(&self) -> bool {
        matches!(self, Self::Apply(ApplyError::Api { source, .. })
            if matches!(&**source, kube::Error::Api(status) if (500..600).contains(&status.code)))
    }

    /// Whether the user has to know; all else passes in a moment.
    fn is_told(&self) -> bool {
        self.is_refusal() || self.is_fault() || self.class() == Class::Stalled
    }

    /// What the API server says against it, without what it adds for programs: a first line.
    fn refusal(&self) -> Option<&str> {
        match self {
            Self::Apply(ApplyError::Api { source, .. }) => match &**source {
                kube::Error::Api(status) => status.message.lines().next(),
                _ => None,
            },
            _ => None,
        }
    }

    /// What happened, for a status.
    fn said(&self) -> String {
        match (self, self.refusal()) {
            (Self::Apply(ApplyError::Api { kind, name, .. }), Some(why)) => {
                format!("cannot write {kind} {name}: {why}")
            }
            _ => self.to_string(),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Apply(ApplyError::NameTaken(_)) => Reason::NameTaken,
            Self::Going { .. } => Reason::Waiting,
            Self::Renderer(_) | Self::Claim { .. } => Reason::InvalidSpec,
            Self::Unreadable(_) => Reason::RecordUnreadable,
            Self::Apply(_) | Self::Read { .. } | Self::Delete { .. } => match self.class() {
                Class::Stalled => Reason::InvalidSpec,
                Class::Waiting { .. } | Class::Transient => Reason::TemporaryFailure,
            },
        }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } | Self::Delete { source, .. } => classify::class(source),
            Self::Apply(error) => error.class(),
            Self::Going { .. } => Class::Waiting {
                after: Duration::from_secs(2),
            },
            Self::Renderer(_) | Self::Claim { .. } | Self::Unreadable(_) => Class::Stalled,
        }
    }
}

/// Somebody else's object has no label of ours to be watched by.
const NAME_TAKEN_AGAIN: Duration = Duration::from_secs(30);
/// What is wrong with a Release that is down may be told better by then.
const DOWN_AGAIN: Duration = Duration::from_mins(1);
/// The way back begins with the next look, and what was refused beside a roll-out is told with it.
const NEXT: Duration = Duration::from_secs(1);

impl Reconcile for ReleaseController {
    type Object = App;
    type Error = Error;
    const NAME: &'static str = "release";

    fn watches(&self, watches: Watches<App>) -> Watches<App> {
        let (departures, clock) = (self.departures.clone(), Arc::clone(&self.clock));
        let caches = &self.caches;
        caches
            .pods
            .watched_by(move |pod| departures.see(pod, clock()));
        let (me, any) = (FieldManager::Release, Change::any);
        watches
            .on(caches.releases.changes(me, Change::by_others))
            .on(caches.deployments.changes(me, any))
            .on(caches.replica_sets.changes(me, any))
            .on(caches.services.changes(me, any))
            .on(caches.service_accounts.changes(me, any))
            .on(caches.claims.changes(me, any))
            .on(caches.pods.changes(me, any))
            .on(caches.slices.changes(me, any))
    }

    fn cache(&self) -> Option<Cache<App>> {
        Some(self.caches.apps.clone())
    }

    /// What is looked at is in the shared cache.
    fn slim(app: &mut App) {
        keep_name(app);
    }

    async fn reconcile(&self, seen: Arc<App>) -> Result<Outcome, Error> {
        let departures = self.departures.take(&seen);
        let Some(app) = observe::current(&self.caches, &seen) else {
            return Ok(Outcome::Done);
        };
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

impl ReleaseController {
    async fn roll(&self, app: &App, observed: &Observed) -> Result<Outcome, Error> {
        let Some(Plan { target, objects }) = plan::plan(app, observed, &self.site)? else {
            return Ok(Outcome::Done);
        };
        let namespace = app.namespace().unwrap_or_default();
        let (applied, refused) =
            apply::apply(&self.client, &self.caches, &namespace, &objects).await?;
        if let Some(failed) = target
            .back_from
            .filter(|_| plan::goes_back(observed, target))
        {
            let note = format!(
                "{} failed; going back to {}",
                failed.name_any(),
                target.release.name_any()
            );
            self.say(app, EventType::Normal, Reason::RolledBack, &note)
                .await;
        }
        let (serves, outcome) = self
            .judge(app, target, &applied, observed, refused.as_ref())
            .await?;
        for release in status::superseded(&observed.releases, target.release, serves) {
            if let Some(whole) = observe::whole(&self.client, &self.caches, release).await? {
                let finding = Finding::Superseded(target.release);
                self.record(app, &whole, &finding).await?;
            }
        }
        if serves || target.stopped {
            apply::prune(
                &self.client,
                &self.caches,
                app,
                target.release,
                &applied,
                observed,
            )
            .await?;
        }
        match refused {
            Some(error) if plan::phase(target.release) == ReleasePhase::Serving => Err(error),
            // A roll-out has its own findings; what was refused is told after it.
            Some(_) if serves => Ok(Outcome::After(NEXT)),
            _ => Ok(outcome),
        }
    }

    /// How the target stands now; whether it serves, and when to look again.
    async fn judge(
        &self,
        app: &App,
        target: Target<'_>,
        applied: &Objects<Applied>,
        observed: &Observed,
        refused: Option<&Error>,
    ) -> Result<(bool, Outcome), Error> {
        let release = target.release;
        if target.stopped {
            return Ok((false, Outcome::Done));
        }
        if plan::phase(release) == ReleasePhase::Serving {
            // What was refused is told by whoever is handed the error.
            if refused.is_some() {
                return Ok((true, Outcome::Done));
            }
            let outcome = self.watch_over(app, release, applied, observed).await?;
            return Ok((true, outcome));
        }
        let now = (self.clock)();
        // A pod that a slice names, and that is not among the pods yet, keeps the Release waiting.
        let service = applied.service.as_ref();
        let slices = service.map(|service| observe::slices(&self.caches, app, service));
        let pods = observe::pods(&self.caches, release);
        let events = observe::events(&self.client, release, &pods, now).await?;
        let seen = Seen {
            release,
            deployments: &applied.deployments,
            replica_sets: &observed.replica_sets,
            pods: &pods,
            slices: slices.as_deref(),
            events: &events,
            secrets: &Secrets::Unknown,
            started_at: observe::started_at(release, now),
            now,
        };
        let (verdict, secrets) = match rollout::evaluate(seen) {
            // It will be kept, and so is told once more by somebody who knows the secrets.
            Verdict::Failed(_) => {
                let secrets = observe::secrets(&self.client, app, release).await?;
                let seen = Seen {
                    secrets: &secrets,
                    ..seen
                };
                (rollout::evaluate(seen), secrets)
            }
            verdict => (verdict, Secrets::Unknown),
        };
        match verdict {
            Verdict::Serving => {
                self.record(app, release, &Finding::Serving).await?;
                Ok((true, Outcome::Done))
            }
            Verdict::Progressing { message, after } => {
                self.record(app, release, &Finding::Deploying(&message))
                    .await?;
                let after = observe::not_before_asked(&pods, release, now, after);
                Ok((false, Outcome::After(after)))
            }
            Verdict::Failed(trouble) => {
                let lines = match &trouble.container {
                    Some(container) => {
                        observe::last_lines(&self.client, release, container, &secrets).await
                    }
                    None => Vec::new(),
                };
                self.record(app, release, &Finding::Failed(&trouble, &lines))
                    .await?;
                Ok((false, Outcome::After(NEXT)))
            }
        }
    }

    /// How a Release that serves stands now; when to look again.
    async fn watch_over(
        &self,
        app: &App,
        release: &Release,
        applied: &Objects<Applied>,
        observed: &Observed,
    ) -> Result<Outcome, Error> {
        if serving::is_whole(release, &applied.deployments, &observed.replica_sets) {
            self.record(app, release, &Finding::Serving).await?;
            return Ok(Outcome::Done);
        }
        let now = (self.clock)();
        let pods = observe::pods(&self.caches, release);
        let events = observe::events(&self.client, release, &pods, now).await?;
        let seen = Seen {
            release,
            deployments: &applied.deployments,
            replica_sets: &observed.replica_sets,
            pods: &pods,
            slices: None,
            events: &events,
            secrets: &Secrets::Unknown,
            started_at: now,
            now,
        };
        let trouble = match serving::evaluate(seen) {
            Standing::Unsure(after) => return Ok(Outcome::After(after)),
            Standing::Serves(after) => {
                self.record(app, release, &Finding::Serving).await?;
                return Ok(after.map_or(Outcome::Done, Outcome::After));
            }
            Standing::Down(trouble) => trouble,
        };
        let secrets = observe::secrets(&self.client, app, release).await?;
        let again = serving::evaluate(Seen {
            secrets: &secrets,
            ..seen
        });
        let trouble = match again {
            Standing::Down(trouble) => trouble,
            Standing::Serves(_) | Standing::Unsure(_) => trouble,
        };
        // What was read once is not read again: the log of the next container may have less in it.
        let lines = match (serving::told_lines(release, &trouble), &trouble.container) {
            (Some(lines), _) => lines,
            (None, Some(container)) => {
                observe::last_lines(&self.client, release, container, &secrets).await
            }
            (None, None) => Vec::new(),
        };
        self.record(app, release, &Finding::Down(&trouble, &lines))
            .await?;
        Ok(Outcome::After(DOWN_AGAIN))
    }

    /// Writes what is found, and tells of it if it is news.
    async fn record(
        &self,
        app: &App,
        release: &Release,
        finding: &Finding<'_>,
    ) -> Result<(), Error> {
        let status = status::status(release, finding, (self.clock)());
        if !apply::write_status(&self.client, &self.caches.releases, release, &status).await? {
            return Ok(());
        }
        let before = plan::phase(release);
        self.count(release, finding);
        let name = release.name_any();
        let (kind, reason, note) = match finding {
            Finding::Deploying(_) if before != ReleasePhase::Deploying => (
                EventType::Normal,
                Reason::Deploying,
                format!("{name} rolls out: {}", release.spec.cause),
            ),
            Finding::Serving if before != ReleasePhase::Serving => (
                EventType::Normal,
                Reason::Deployed,
                format!("{name} serves {}", release.spec.revision_id),
            ),
            Finding::Failed(trouble, lines) => {
                let last = last_words::of_release(lines, &trouble.message, &name);
                let note = format!("{name} failed: {}{last}", trouble.message);
                (EventType::Warning, trouble.reason, note)
            }
            // That nothing is there, and no more is known of it, the App says.
            Finding::Down(trouble, lines)
                if trouble.reason != Reason::Progressing
                    && !status::is_for(release, trouble.reason) =>
            {
                let last = last_words::of_release(lines, &trouble.message, &name);
                let note = format!(
                    "{name} does not run as it should: {}{last}",
                    trouble.message
                );
                (EventType::Warning, trouble.reason, note)
            }
            Finding::Blocked {
                reason, message, ..
            } => (EventType::Warning, *reason, format!("{name}: {message}")),
            Finding::Down(..)
            | Finding::Deploying(_)
            | Finding::Serving
            | Finding::Superseded(_) => return Ok(()),
        };
        self.say(app, kind, reason, &note).await;
        Ok(())
    }

    /// Counts the end of a roll-out.
    fn count(&self, release: &Release, finding: &Finding<'_>) {
        let serves = match finding {
            Finding::Serving => true,
            Finding::Failed(..) => false,
            Finding::Deploying(_)
            | Finding::Down(..)
            | Finding::Superseded(_)
            | Finding::Blocked { .. } => return,
        };
        let began = match plan::phase(release) {
            ReleasePhase::Pending => release.creation_timestamp(),
            ReleasePhase::Deploying => release.status.as_ref().and_then(|s| s.started_at.clone()),
            _ => None,
        };
        if let Some(began) = began {
            let took = (self.clock)().duration_since(began.0);
            self.meters
                .ended(serves, took.try_into().unwrap_or_default());
        }
    }

    async fn say(&self, app: &App, kind: EventType, reason: Reason, note: &str) {
        self.events
            .publish(&app.object_ref(&()), kind, reason, "Release", note)
            .await;
    }

    /// Says in the target's status why its objects cannot be written, where that will not pass in a moment, and in the
    /// end gives the target up: what was written of it is undone by the way back.
    async fn blocked(
        &self,
        app: &App,
        observed: &Observed,
        error: Error,
    ) -> Result<Outcome, Error> {
        let release = match plan::target(&observed.releases) {
            Some(target) if !target.stopped && error.is_told() => target.release,
            _ => return Err(error),
        };
        if let Some(trouble) = given_up(release, &error, (self.clock)()) {
            self.record(app, release, &Finding::Failed(&trouble, &[]))
                .await?;
            return Ok(Outcome::After(NEXT));
        }
        let reason = error.reason();
        // A fault has other words each time: they are no news.
        if error.is_fault() && status::is_for(release, reason) {
            return Err(error);
        }
        let finding = Finding::Blocked {
            reason,
            message: &error.said(),
            stalled: error.class() == Class::Stalled,
        };
        self.record(app, release, &finding).await?;
        if reason == Reason::NameTaken {
            return Ok(Outcome::After(NAME_TAKEN_AGAIN));
        }
        Err(error)
    }
}

/// Why `release` is given up, where its objects cannot be written: at once if they will be refused again as they are,
/// else when its time is over. One that serves is not given up, and what is not about its objects is no reason.
fn given_up(release: &Release, error: &Error, now: Timestamp) -> Option<Trouble> {
    let Error::Apply(ApplyError::Api { .. }) = error else {
        return None;
    };
    if plan::phase(release) == ReleasePhase::Serving {
        return None;
    }
    let trouble = |reason| Trouble {
        reason,
        message: error.said(),
        process: None,
        container: None,
    };
    if error.class() == Class::Stalled {
        return Some(trouble(error.reason()));
    }
    let left = rollout::left(release, observe::tried_since(release, now), now);
    (left <= SignedDuration::ZERO)
        .then(|| trouble::at_the_deadline(release, Some(trouble(Reason::DeadlineExceeded)), ""))
}
