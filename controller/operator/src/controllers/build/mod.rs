//! Build → plan → containers → image in status.
//!
//! ```text
//! observe ─▶ next (pure) ─▶ apply ─▶ status (pure)
//! ```
//!
//! The engine knows what runs, and the object records what was seen of it, so this process has to remember nothing.
//! Nothing waits for a Build that is deleted: what it leaves on the engine is removed by its UID.

mod apply;
mod inputs;
mod observe;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, stream};
use kube::{Api, Client, Resource as _, ResourceExt as _, core::ObjectMeta};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    v1alpha1::{Build, BuildPhase, BuildStatus},
};
use tokio::sync::{Semaphore, broadcast};

use crate::controllers::{
    build::inputs::InputError,
    chain,
    reconcile::{Outcome, Reconcile},
    watches::Watches,
};
use slipway_base::error::{Class, Classify};

use slipway_core::{
    build::{
        next::{self, Turn},
        queue::{self, Entry, Places, Turns},
        status,
    },
    domain::env::HashKey,
    records::{self, Strange},
    settings::Settings,
};
use slipway_driver::{
    contract::{Driver, DriverError},
    log::LogError,
};
use slipway_k8s::clock::Clock;
use slipway_k8s::{
    FieldManager,
    apply::{ApplyError, status::patch_status},
    cache::{Cache, Key},
    classify::{self, said},
    events::{EventType, Publisher},
};
use slipway_remotes::registry::Registry;
use slipway_telemetry::meters::BuildMeters;

/// How often a missing Secret or ConfigMap is looked up again.
const MISSING: Duration = Duration::from_secs(10);
/// How many logs are stored at once: each is held in memory compressed, and half of it uncompressed as well.
const ARCHIVES: usize = 2;
/// How many calls may be queued; a Build whose call is lost is reconciled within a minute anyway.
const CALLS: usize = 1024;

/// What the queue reads of each Build, by namespace and name.
type Known = Arc<Mutex<BTreeMap<Key, Entry>>>;

/// Notes a Build as the cache has it now.
fn see(known: &Known, meta: &ObjectMeta, build: Option<&Build>) {
    let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
        return;
    };
    let key = (namespace.as_str().into(), name.as_str().into());
    let mut known = lock(known);
    let is_it = |entry: &Entry| meta.uid.as_ref().is_none_or(|uid| *uid == entry.uid);
    if let Some(entry) = build.and_then(Entry::of) {
        known.insert(key, entry);
    } else if known.get(&key).is_some_and(is_it) {
        known.remove(&key);
    }
}

/// What the controller is made with.
pub struct Parts<D> {
    /// The API server.
    pub client: Client,
    /// All Builds.
    pub cache: Cache<Build>,
    /// What the administrator decided.
    pub settings: Arc<Settings>,
    /// Where Events go.
    pub events: Publisher,
    /// Where builds are counted.
    pub meters: BuildMeters,
    /// Tells the time.
    pub clock: Clock,
    /// Runs builds.
    pub driver: Arc<D>,
    /// Keeps logs.
    pub registry: Arc<Registry>,
    /// Key of the installation: the marks of zones' reports follow from it.
    pub key: HashKey,
}

/// The Build controller. Beside it runs [`Builds::tend`].
pub struct Builds<D> {
    client: Client,
    settings: Arc<Settings>,
    events: Publisher,
    meters: BuildMeters,
    clock: Clock,
    driver: Arc<D>,
    registry: Arc<Registry>,
    key: HashKey,
    cache: Cache<Build>,
    /// What the queue reads of all Builds in the cache.
    known: Known,
    turns: Mutex<Turns>,
    /// UIDs of ended Builds whose end is not in the caches yet.
    over: Mutex<BTreeSet<String>>,
    /// UIDs of Builds whose log is stored and whose containers may still exist.
    untidy: Mutex<BTreeSet<String>>,
    /// One for each log that may be stored at once.
    archives: Semaphore,
    calls: broadcast::Sender<Key>,
}

impl<D: Driver> Builds<D> {
    /// A controller that runs nothing yet.
    pub fn new(parts: Parts<D>) -> Self {
        let Parts {
            client,
            cache,
            settings,
            events,
            meters,
            clock,
            driver,
            registry,
            key,
        } = parts;
        let known = Known::default();
        let seen = Arc::clone(&known);
        cache.watched_by(move |meta, build| see(&seen, meta, build));
        Self {
            client,
            cache,
            known,
            settings,
            events,
            meters,
            clock,
            driver,
            registry,
            key,
            turns: Mutex::default(),
            over: Mutex::default(),
            untidy: Mutex::default(),
            archives: Semaphore::new(ARCHIVES),
            calls: broadcast::Sender::new(CALLS),
        }
    }
}

impl<D: Driver> Reconcile for Builds<D> {
    type Object = Build;
    type Error = BuildError;
    const NAME: &'static str = "build";
    /// An engine may take long to remove large volumes.
    const DEADLINE: Duration = Duration::from_mins(5);
    /// What is to be done for it is read from the API server in any case.
    const WHOLE: bool = false;

    fn watches(&self, watches: Watches<Build>) -> Watches<Build> {
        watches.on(self.calls())
    }

    fn cache(&self) -> &Cache<Build> {
        &self.cache
    }

    async fn reconcile(&self, cached: Arc<Build>) -> Result<Outcome, BuildError> {
        // 0. Check that the App controls the Build.
        if let Err(why) = records::owned(&*cached) {
            self.ignore(&cached, &why).await;
            return Ok(Outcome::Done);
        }
        // 1. Read the Build as it is now.
        let Some(build) = self.current(&cached).await? else {
            return self.gone(&cached).await;
        };
        let build = within(build, self.settings.builds.ceilings().timeout);
        // 2. Observe it, 3. decide the next step, 4. carry it out and write the status.
        let done = match self.observe(&build).await {
            Ok(observed) => {
                let step = next::next(&build, &observed);
                tracing::debug!(?step, "next");
                Box::pin(self.apply(&build, &observed, step)).await
            }
            Err(error) => Err(error),
        };
        match done {
            Err(BuildError::Gone) => self.gone(&build).await,
            Err(error) => Err(self.explain(&build, error).await),
            Ok(outcome) => Ok(outcome),
        }
    }
}

impl<D: Driver> Builds<D> {
    /// The object was deleted while a step was carried out.
    async fn gone(&self, build: &Build) -> Result<Outcome, BuildError> {
        self.driver.remove(apply::uid(build)).await?;
        self.leave(apply::uid(build));
        Ok(Outcome::Done)
    }

    /// The App does not control this Build: nothing is done for it, and it delays no other Build.
    async fn ignore(&self, build: &Build, why: &Strange) {
        let said = records::ignored("Build", &build.name_any(), why);
        tracing::warn!(said, "ignored");
        let object = build.object_ref(&());
        let reason = Reason::RecordIgnored;
        self.events
            .publish(&object, EventType::Warning, reason, "Build", &said)
            .await;
    }

    /// Writes into the status why the Build does not go on, unless it is over.
    async fn explain(&self, build: &Build, error: BuildError) -> BuildError {
        let now = (self.clock)();
        let status = match &error {
            _ if build.status.as_ref().is_some_and(|s| s.phase.is_over()) => return error,
            BuildError::Input(InputError::Missing(message)) => {
                status::blocked(build, message.clone(), now)
            }
            BuildError::Engine(_) | BuildError::Log(_) | BuildError::Input(_) => {
                status::troubled(build, format!("{}; tried again", chain(&error)), now)
            }
            BuildError::Api(_) | BuildError::Apply(_) | BuildError::Gone => return error,
        };
        // The Build may have begun in the meantime: keep what was written about that.
        let written = match self.current(build).await {
            Ok(Some(live)) => {
                let status = BuildStatus {
                    conditions: status.conditions,
                    observed_generation: status.observed_generation,
                    ..live.status.clone().unwrap_or_default()
                };
                self.write(&live, status).await.map(|_| ())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(problem) = written {
            tracing::debug!(problem = chain(&problem), "cannot say so in the status");
        }
        error
    }

    /// Writes the status if it has changed, and an Event if the reason has changed. Returns the Build with the new
    /// status.
    async fn write(&self, build: &Build, status: BuildStatus) -> Result<Build, BuildError> {
        let api: Api<Build> = self.api(build);
        patch_status(
            &api,
            FieldManager::Build,
            build,
            &status,
            build.status.as_ref(),
        )
        .await
        .map_err(BuildError::written)?;
        let before = reason(build);
        let written = Build {
            status: Some(status),
            ..build.clone()
        };
        let after = reason(&written);
        if before != after {
            self.tell(&written).await;
        }
        Ok(written)
    }

    /// The Event of the Build's present reason.
    async fn tell(&self, build: &Build) {
        let Some(ready) = build.condition(types::READY) else {
            return;
        };
        let Some(reason) = Reason::named(&ready.reason) else {
            return;
        };
        let normal = [
            Reason::BuildQueued,
            Reason::PullingImage,
            Reason::BuildRunning,
            Reason::BuildSucceeded,
            Reason::BuildSuperseded,
            Reason::BuildCancelled,
        ];
        let kind = if normal.contains(&reason) {
            EventType::Normal
        } else {
            EventType::Warning
        };
        let object = build.object_ref(&());
        self.events
            .publish(&object, kind, reason, "Build", &ready.message)
            .await;
    }

    fn api<K>(&self, build: &Build) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        let namespace = build.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    /// All Builds that are known.
    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = lock(&self.known).values().cloned().collect();
        let mut over = lock(&self.over);
        let mut ahead = BTreeSet::new();
        for entry in &mut entries {
            if !entry.phase.is_over() && over.contains(&entry.uid) {
                entry.phase = BuildPhase::Succeeded;
                ahead.insert(entry.uid.clone());
            }
        }
        *over = ahead;
        entries
    }

    fn turn(&self, me: &Entry, entries: &[Entry]) -> Turn {
        let turns = lock(&self.turns);
        queue::turn(me, entries, &turns, self.places())
    }

    fn places(&self) -> Places {
        Places {
            all: self.settings.builds.concurrency,
            of_one: self.settings.builds.of_one_namespace(),
        }
    }

    /// Takes a place among the running Builds, if one is free.
    fn enter(&self, build: &Build) -> bool {
        let entries = self.entries();
        let mut turns = lock(&self.turns);
        let Some(me) = Entry::of(build) else {
            return false;
        };
        let may = me.phase != BuildPhase::Pending
            || queue::turn(&me, &entries, &turns, self.places()) == Turn::Now;
        if may {
            turns.begin(&me.uid, &me.order.1);
            self.meters.running(turns.at_work());
        }
        may
    }

    /// Notes that a Build runs, perhaps since before this process started.
    fn note_running(&self, build: &Build) {
        let mut turns = lock(&self.turns);
        let namespace = build.metadata.namespace.as_deref().unwrap_or_default();
        turns.begin(apply::uid(build), namespace);
        self.meters.running(turns.at_work());
    }

    /// Frees the place of the Build with this UID, and calls the Builds that wait for one.
    fn leave(&self, uid: &str) {
        if self.give_back(uid) {
            self.call_waiting();
        }
    }

    /// Frees the place of the Build with this UID. Returns whether it had one.
    fn give_back(&self, uid: &str) -> bool {
        let now = (self.clock)();
        let mut turns = lock(&self.turns);
        let had = turns.end(uid, now);
        if had {
            self.meters.running(turns.at_work());
        }
        had
    }

    /// Notes that a Build has ended and its status says so, and calls the waiting Builds without waiting for the
    /// caches.
    fn note_over(&self, uid: &str) {
        lock(&self.over).insert(uid.to_owned());
        self.give_back(uid);
        self.call_waiting();
    }

    /// Removes what a Build whose log is stored has on the engine; if that is interrupted, the next reconcile tries
    /// again.
    async fn tidy(&self, uid: &str) -> Result<(), BuildError> {
        lock(&self.untidy).insert(uid.to_owned());
        self.driver.remove(uid).await?;
        lock(&self.untidy).remove(uid);
        Ok(())
    }

    fn call_waiting(&self) {
        for entry in self.entries() {
            if entry.phase == BuildPhase::Pending {
                self.call(&entry.uid);
            }
        }
    }

    /// Has the Build with this UID reconciled.
    fn call(&self, uid: &str) {
        let known = lock(&self.known);
        let key = known.iter().find(|(_, entry)| entry.uid == uid);
        if let Some((key, _)) = key {
            // Nothing listens before the controller runs, and then it reconciles every Build anyway.
            let _ = self.calls.send(key.clone());
        }
    }

    fn calls(&self) -> impl Stream<Item = Key> + Send + 'static + use<D> {
        stream::unfold(self.calls.subscribe(), |mut calls| async move {
            loop {
                match calls.recv().await {
                    Ok(key) => return Some((key, calls)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
    }
}

/// The Build with its time limit cut to the administrator's maximum. Only this copy is changed, never the spec in the
/// API server.
fn within(mut build: Build, longest: slipway_crds::v1alpha1::Duration) -> Build {
    if build.spec.timeout.get() > longest.get() {
        build.spec.timeout = longest;
    }
    build
}

/// The present reason, as a static string.
fn reason(build: &Build) -> &'static str {
    let ready = build.condition(types::READY);
    let reason = ready.and_then(|ready| Reason::named(&ready.reason));
    reason.map_or("", Reason::as_str)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a Build does not go on now.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The object does not exist any more.
    #[error("the Build is gone")]
    Gone,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] DriverError),
    /// The log could not be read from the engine or stored in the registry.
    #[error("cannot keep the log")]
    Log(#[from] LogError),
    /// Something that the Build refers to cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The API server failed while something was read.
    #[error("cannot read from the API server")]
    Api(#[source] Box<kube::Error>),
    /// The API server failed while something was written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl BuildError {
    fn read(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }

    fn written(error: ApplyError) -> Self {
        match error {
            ApplyError::Api { source, .. } if classify::is_not_found(&source) => Self::Gone,
            other => Self::Apply(other),
        }
    }
}

impl BuildError {
    /// Whether the API server refuses the object, so that a retry would not help.
    fn is_refusal(&self) -> bool {
        let Self::Apply(error @ ApplyError::Api { source, .. }) = self else {
            return false;
        };
        // The API server reports etcd's size limit as an internal error.
        let said = said(source);
        let too_large = ["too large", "larger than max"];
        error.class() == Class::Stalled || too_large.iter().any(|text| said.contains(text))
    }
}

impl Classify for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Input(InputError::Missing(_)) => Class::Waiting { after: MISSING },
            Self::Input(InputError::Api { source, .. }) | Self::Api(source) => {
                classify::class(source)
            }
            Self::Apply(error) => error.class(),
            Self::Input(InputError::Foreign(_)) => Class::Stalled,
            Self::Gone | Self::Engine(_) | Self::Log(_) => Class::Transient,
        }
    }
}

#[cfg(test)]
mod tests;
