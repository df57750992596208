//! App → Revision → Build → config Secret and Release; and the App's status.
//!
//! ```text
//! observe ─▶ what is known of the source ─▶ plan ─▶ apply ─▶ status
//! ```
//!
//! Running the Release is the Release controller's task; this controller only reads its state. An unchanged App causes
//! no write.

mod apply;
mod config;
mod lookup;
mod observe;
mod plan;
mod read;
mod referred;
mod report;
mod running;
mod seen;
mod status;
#[cfg(test)]
mod tests;
mod words;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use slipway_crds::{
    conditions::Reason,
    labels,
    v1alpha1::{App, Build, ReleaseSite, Stack},
};

use crate::{
    controllers::{
        Wiring,
        app::{
            apply::{ApplyError, Target},
            lookup::{LookUps, Source},
            observe::Observed,
            read::ReadError,
            report::{Facts, Report, Step},
            seen::{Seen, Variables},
        },
        caches::Caches,
        history,
        reconcile::{Outcome, Reconcile},
        watches::Watches,
    },
    source::Clients,
};
use slipway_base::error::{Class, Classify};

use slipway_core::{
    desired::Site,
    domain::{
        app::{Ceilings, Defaults, ValidApp},
        env::HashKey,
    },
    records::{Owner, Sorted},
    settings::Settings,
};
use slipway_k8s::clock::Clock;
use slipway_k8s::{
    FieldManager, apply as k8s_apply,
    apply::status::patch_status_as_seen,
    cache::{Cache, Change},
    classify,
    events::{EventType, Publisher},
};

/// Brings an App from its spec to a Release, and reports how far it is.
pub struct AppController {
    client: Client,
    caches: Caches,
    settings: Arc<Settings>,
    site: ReleaseSite,
    defaults: Defaults,
    events: Publisher,
    clock: Clock,
    key: HashKey,
    look_ups: LookUps,
}

/// How long the status waits for the first news of what was begun.
const SOON: Duration = Duration::from_millis(500);
/// How long it waits for further changes of the number of pods.
const PODS: Duration = Duration::from_secs(2);
/// Most notes about records that do not count, because anybody who may create records can make any number of them.
const STRANGE: usize = 3;

impl AppController {
    /// Made with the administrator's settings, the operator's key, and the clients of git servers and registries.
    /// Look-ups are spread over time, beginning now.
    pub fn new(
        wiring: &Wiring,
        settings: Arc<Settings>,
        clock: Clock,
        key: HashKey,
        clients: Clients,
    ) -> Self {
        let client = wiring.client.clone();
        Self {
            look_ups: LookUps::new(
                client.clone(),
                Arc::clone(&settings),
                clients,
                Arc::clone(&clock),
            ),
            site: Site::of(&settings).pods,
            defaults: defaults(&settings),
            client,
            caches: wiring.caches.clone(),
            events: wiring.events.clone(),
            clock,
            key,
            settings,
        }
    }

    /// A controller whose look-ups wait until a test answers them.
    #[cfg(test)]
    pub(super) fn of_test(wiring: &Wiring, clock: Clock) -> Self {
        let clients = lookup::clients();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        let settings = Arc::new(lookup::settings());
        Self::new(wiring, settings, clock, key, clients)
    }

    /// Ends every waiting look-up as if the server had answered with this image. Returns how many there were.
    #[cfg(test)]
    pub(super) fn answer(&self, image: &slipway_crds::v1alpha1::ImageRevision) -> usize {
        self.look_ups.answer(image)
    }

    /// Looks up the sources of Apps until dropped, so that no reconcile waits for a server.
    pub async fn tend(&self) {
        self.look_ups.tend().await;
    }
}

#[cfg(test)]
pub(super) fn settings_of_test() -> Settings {
    lookup::settings()
}

fn defaults(settings: &Settings) -> Defaults {
    let Settings {
        registry, builds, ..
    } = settings;
    let ceilings = builds.ceilings();
    Defaults {
        stack: builds.default_stack.clone(),
        timeout: builds.timeout.get(),
        interval: settings.apps.interval.get(),
        protocols: builds.git.protocols.clone(),
        repositories: registry.repositories(),
        ceilings: Ceilings {
            timeout: Some(ceilings.timeout),
            cpus: ceilings.cpus,
            memory: ceilings.memory,
            history: Some(settings.apps.max_history),
        },
    }
}

/// Why an App could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something could not be made or deleted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The status could not be written.
    #[error(transparent)]
    Status(#[from] k8s_apply::ApplyError),
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Read(error) => classify::class(&error.source),
            Self::Apply(error) => error.class(),
            Self::Status(error) => error.class(),
        }
    }
}

impl Reconcile for AppController {
    type Object = App;
    type Error = Error;
    const NAME: &'static str = "app";

    fn watches(&self, watches: Watches<App>) -> Watches<App> {
        let theirs = format!("{}!={}", labels::MANAGED_BY, labels::SLIPWAY);
        let default_stack = self.defaults.stack.clone();
        let caches = &self.caches;
        let (me, any) = (FieldManager::App, Change::any);
        watches
            .on(self.look_ups.ended())
            .on(caches.revisions.changes(me, any))
            .on(caches.builds.changes(me, any))
            .on(caches.releases.changes(me, any))
            .on(caches.secrets.changes(me, any))
            .on_many(PODS, caches.deployments.changes(me, any))
            .on_many(PODS, caches.services.changes(me, any))
            .refers_to("Secret", caches.others.changes(me, any))
            .refers::<ConfigMap>(&theirs)
            .refers_to_cluster::<Stack>(move |stack| {
                let is_default = stack == default_stack;
                let named = std::iter::once(stack.to_owned());
                named.chain(is_default.then(String::new)).collect()
            })
    }

    fn cache(&self) -> &Cache<App> {
        &self.caches.apps
    }

    async fn reconcile(&self, app: Arc<App>) -> Result<Outcome, Error> {
        if app.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Done);
        }
        match ValidApp::new(&app, &self.defaults) {
            Err(invalid) => {
                let observed = self.observe(&app, None).await?;
                let mut report = Report::stopped(Reason::InvalidSpec, invalid.to_string());
                note_records(&mut report, &observed);
                self.tell(&app, &observed, &report).await?;
                Ok(Outcome::Done)
            }
            Ok(valid) => Box::pin(self.valid(&app, &valid)).await,
        }
    }
}

impl AppController {
    async fn observe(&self, app: &App, valid: Option<&ValidApp>) -> Result<Observed, ReadError> {
        let ours = &self.defaults.repositories;
        let observing = observe::observe(&self.client, &self.caches, app, valid, &self.key, ours);
        Box::pin(observing).await
    }

    async fn valid(&self, app: &App, valid: &ValidApp) -> Result<Outcome, Error> {
        let mut observed = self.observe(app, Some(valid)).await?;
        // It is not known which Release is the newest and which serves, so nothing is made or deleted.
        if let Some(said) = observed.unreadable_releases.first() {
            let mut report = Report::unreadable(said.clone());
            note_records(&mut report, &observed);
            self.tell(app, &observed, &report).await?;
            return Ok(Outcome::Done);
        }
        let now = (self.clock)();
        let source = lookup::source(&self.look_ups, app, valid, &observed, now);
        let owner = Owner {
            namespace: &valid.namespace,
            name: &valid.name,
            uid: &valid.uid,
            repositories: &self.defaults.repositories,
        };
        let variables = Variables::of(valid, &observed.referred, &self.key);
        let mut builds = Sorted {
            records: std::mem::take(&mut observed.builds),
            partial: std::mem::take(&mut observed.partial_builds),
            ..Sorted::default()
        };
        let seen = self.seen(app, valid, &observed, &source, &variables, now);
        let whole = |builds: &[Build]| plan::read_whole(seen, builds);
        history::complete(&self.client, owner, &mut builds, whole)
            .await
            .map_err(read::reading("Builds"))?;
        observed.builds = builds.records;
        let mut plan = plan::plan(self.seen(app, valid, &observed, &source, &variables, now));
        note_records(&mut plan.report, &observed);
        let target = Target {
            client: &self.client,
            caches: &self.caches,
            events: &self.events,
            app: &app.object_ref(&()),
            owner,
        };
        let begins = source.begun || plan.begins();
        let applied = apply::apply(target, &mut plan, &observed).await;
        if let Err(error) = &applied {
            blocked(&mut plan.report, error);
        } else if begins && !plan.report.answers(app.status.as_ref()) {
            // One write of the status says this and the first that is heard of it.
            return Ok(Outcome::After(SOON));
        }
        self.tell(app, &observed, &plan.report).await?;
        match applied {
            // The next commit may succeed.
            Err(error) if error.class() == Class::Stalled => {
                tracing::warn!(error = crate::controllers::chain(&error), "stalled");
            }
            applied => applied?,
        }
        // Wait at least a second.
        let at_least = Duration::from_secs(1);
        let due = plan.due.map(|due| due.duration_since(now).unsigned_abs());
        let next = source.next.into_iter().chain(due).min();
        Ok(next.map_or(Outcome::Done, |next| Outcome::After(next.max(at_least))))
    }

    fn seen<'a>(
        &'a self,
        app: &'a App,
        valid: &'a ValidApp,
        observed: &'a Observed,
        source: &'a Source,
        variables: &'a Variables,
        now: Timestamp,
    ) -> Seen<'a> {
        Seen {
            app,
            valid,
            observed,
            source,
            key: &self.key,
            variables,
            site: &self.site,
            now,
        }
    }

    /// Writes the status if it has changed, and an Event if no other controller emits one.
    async fn tell(&self, app: &App, observed: &Observed, report: &Report) -> Result<(), Error> {
        let name = app.name_any();
        let namespace = app.namespace().unwrap_or_default();
        let running = running::running(&name, &namespace, observed, &self.settings.apps);
        let facts = Facts {
            before: app.status.as_ref(),
            generation: app.metadata.generation,
            app: &name,
            report,
            serving: slipway_core::decide::release::serving(&observed.releases),
            running: &running,
        };
        let status = status::status(&facts, (self.clock)());
        let api: Api<App> = Api::namespaced(self.client.clone(), &namespace);
        let before = app.status.as_ref();
        let written = patch_status_as_seen(&api, FieldManager::App, app, &status, before).await?;
        let Some(metadata) = written else {
            return Ok(());
        };
        let written = App {
            metadata,
            spec: app.spec.clone(),
            status: Some(status.clone()),
        };
        self.caches.apps.put(&written, FieldManager::App);
        if let Some((reason, message, trouble)) = status::news(before, &status) {
            let kind = if trouble {
                EventType::Warning
            } else {
                EventType::Normal
            };
            let object = app.object_ref(&());
            self.events
                .publish(&object, kind, reason, "Reconcile", &message)
                .await;
        }
        Ok(())
    }
}

/// Adds notes about records that do not count or cannot be read, after all other notes.
fn note_records(report: &mut Report, observed: &Observed) {
    report.notes.extend(observed.unreadable.iter().cloned());
    let strange = &observed.strange;
    report.notes.extend(strange.iter().take(STRANGE).cloned());
    if let more @ 1.. = strange.len().saturating_sub(STRANGE) {
        report
            .notes
            .push(format!("{more} more records are ignored for such reasons"));
    }
}

/// Corrects the report where the plan was not carried out completely: the rest has not happened.
fn blocked(report: &mut Report, error: &ApplyError) {
    let message = crate::controllers::chain(error);
    report.release_number = None;
    report.handled_rebuild = None;
    report.handled_rerender = None;
    let step = if error.class() == Class::Stalled {
        Step::Failed(error.reason(), message)
    } else {
        Step::Retrying(error.reason(), message)
    };
    if report.build.is_done() {
        report.release = step;
    } else {
        report.build = step;
    }
}
