//! Watches → reconciles: the only set-up of a controller in the process.
//!
//! Each reconcile has a span, a time limit, its meters and its own back-off; one that panics is counted and tried
//! again; an object that cannot be read is reported and stops nobody else. What a reconcile does is in the folders
//! beside this file; they know nothing of each other and are joined by API objects only.

pub mod app;
pub mod build;
pub mod caches;
pub mod history;
pub mod pace;
pub mod release;
pub mod watches;

use std::{
    fmt::Debug,
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::join_all};
use kube::{
    Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        controller::{Action, Error as StreamError},
        events::EventType,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use slipway_crds::conditions::Reason;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::controllers::{caches::Caches, pace::Pace, watches::Watches};
use slipway_base::error::{Class, Classify, retry_after};
pub use slipway_k8s::classify::chain;

use slipway_k8s::{
    backoff::Failures,
    cache::{Cache, Cached},
    events::Publisher,
};
use slipway_telemetry::meters::{ControllerMeters, Outcome as Meter};

/// What a controller does for one object.
pub trait Reconcile: Send + Sync + 'static {
    /// What is reconciled.
    type Object: Cached + Resource<Scope = NamespaceResourceScope>;
    /// Why it did not work out.
    type Error: Classify + Send + 'static;
    /// Name in logs, meters and Events.
    const NAME: &'static str;
    /// How many objects at once.
    const CONCURRENCY: u16 = 8;
    /// How long one may take. What takes longer is observed in steps, not awaited.
    const DEADLINE: Duration = Duration::from_mins(2);

    /// What else than the object itself is watched, and which objects a change there concerns.
    fn watches(&self, watches: Watches<Self::Object>) -> Watches<Self::Object>;

    /// What has all objects of its kind, where others look at them as well. Otherwise the controller watches them itself.
    fn cache(&self) -> Option<Cache<Self::Object>> {
        None
    }

    /// Takes out of an object what nobody reads in the cache, which holds every one of them. Who needs that reads the
    /// whole object again before anything is done with it.
    fn slim(_: &mut Self::Object) {}

    /// Brings one object nearer to what its spec says. Without a change to it or what it depends on, no write.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

/// How a reconcile went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do: looked at again about once an hour, in case a watch missed something.
    Done,
    /// The next look, if no watch comes first.
    After(Duration),
}

/// What every controller is made with.
#[derive(Clone)]
pub struct Wiring {
    /// The API server.
    pub client: Client,
    /// What is known of it.
    pub caches: Caches,
    /// Namespaces that are looked after; none: all.
    pub namespaces: Vec<String>,
    /// Where Events go.
    pub events: Publisher,
    /// Where reconciles are counted.
    pub meters: ControllerMeters,
    /// Cancelled: no new reconcile begins, and those that run are finished.
    pub stop: CancellationToken,
    /// Names of caches that are not filled yet; readiness looks at it.
    pub unsynced: watch::Sender<Vec<String>>,
}

/// About how often an object is looked at without any reason.
const RESYNC: Duration = Duration::from_hours(1);

/// Runs a controller until it is stopped, then waits for the reconciles that run. Dropping the future aborts them.
pub async fn run<R: Reconcile>(reconciler: Arc<R>, wiring: Wiring) {
    let namespaces = match wiring.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    wiring.meters.limit(R::NAME, R::CONCURRENCY);
    let shared = Arc::new(Shared {
        reconciler,
        events: wiring.events.clone(),
        meters: wiring.meters.clone(),
        failures: Failures::default(),
        slots: Semaphore::new(usize::from(R::CONCURRENCY)),
        pace: Arc::default(),
        sequence: AtomicU64::new(0),
    });
    join_all(
        namespaces
            .into_iter()
            .map(|namespace| in_namespace(Arc::clone(&shared), wiring.clone(), namespace)),
    )
    .await;
}

async fn in_namespace<R: Reconcile>(
    shared: Arc<Shared<R>>,
    wiring: Wiring,
    namespace: Option<String>,
) {
    let cache = match &namespace {
        None => format!("{} cache", R::NAME),
        Some(namespace) => format!("{} cache of namespace {namespace}", R::NAME),
    };
    wiring
        .unsynced
        .send_modify(|names| names.push(cache.clone()));
    let watches = match shared.reconciler.cache() {
        Some(own) => {
            // Nothing is decided by half of what there is.
            let full = wiring
                .stop
                .run_until_cancelled(wiring.caches.are_full())
                .await;
            if full.is_none() {
                return;
            }
            Watches::of(
                &own,
                wiring.client,
                namespace,
                R::slim,
                Arc::clone(&shared.pace),
            )
        }
        None => Watches::new(wiring.client, namespace, R::slim),
    };
    let watches = shared.reconciler.watches(watches);
    let store = watches.controller.store();
    let never_began = async {
        let ready = wiring.stop.run_until_cancelled(store.wait_until_ready());
        if ready.await.is_some() {
            wiring
                .unsynced
                .send_modify(|names| names.retain(|name| *name != cache));
            std::future::pending::<()>().await;
        }
    };
    let stop = wiring.stop.clone();
    // How many run at once is bound by `Shared::slots`, which gives them out in turn. The runtime's own bound keeps who
    // has to wait in a set, and takes any of them next: some would wait as long as others keep coming.
    let stream = watches
        .controller
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(
            |object, shared: Arc<Shared<R>>| {
                let store = store.clone();
                async move { Ok::<_, Never>(shared.reconcile(object, &store).await) }
            },
            |_, never: &Never, _| match *never {},
            Arc::clone(&shared),
        )
        .for_each(|result| {
            shared.report(result);
            std::future::ready(())
        });
    // Asked to stop before its cache was filled, a controller would wait for that for ever; nothing has begun.
    tokio::select! {
        () = stream => {}
        () = never_began => {}
    }
}

/// The reconcile function keeps its errors to itself: it knows what becomes of them.
#[derive(Debug, thiserror::Error)]
enum Never {}

type Reconciled<K> =
    Result<(ObjectRef<DeserializeGuard<K>>, Action), StreamError<Never, watcher::Error>>;

struct Shared<R: Reconcile> {
    reconciler: Arc<R>,
    events: Publisher,
    meters: ControllerMeters,
    failures: Failures<(String, String)>,
    /// Bounds all namespaces together.
    slots: Semaphore,
    /// Those of which the first look is due, a few at a time.
    pace: Arc<Pace>,
    sequence: AtomicU64,
}

/// Why a reconcile did not end by itself.
#[derive(Debug, thiserror::Error)]
enum Abort {
    #[error("a reconcile panicked: {0}")]
    Panic(String),
    #[error("a reconcile took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

impl<R: Reconcile> Shared<R> {
    async fn reconcile(
        &self,
        object: Arc<DeserializeGuard<R::Object>>,
        store: &Store<DeserializeGuard<R::Object>>,
    ) -> Action {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        // Closed never: the semaphore lives as long as this.
        let _slot = self.slots.acquire().await;
        self.pace.leave(&key);
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!(
            "reconcile", controller = R::NAME, namespace = %key.0, name = %key.1, reconcile_id = id,
        );
        async {
            // As it is now: it may have waited long.
            let Some(object) = store.get(&ObjectRef::from_obj(&*object)) else {
                self.failures.reset(&key);
                return Action::await_change();
            };
            let _running = self.meters.begin(R::NAME);
            let began = Instant::now();
            let (action, outcome) = match &object.0 {
                // On the heap, so that those that wait are small.
                Ok(known) => Box::pin(self.known(&key, known)).await,
                Err(invalid) => {
                    self.unparsable(&object, &invalid.error).await;
                    (Action::await_change(), Meter::Unparsable)
                }
            };
            let took = began.elapsed();
            self.meters.end(R::NAME, outcome, took);
            tracing::debug!(?outcome, took_ms = took.as_millis(), "reconciled");
            action
        }
        .instrument(span)
        .await
    }

    async fn known(&self, key: &(String, String), object: &R::Object) -> (Action, Meter) {
        let object = Arc::new(object.clone());
        let work = AssertUnwindSafe(self.reconciler.reconcile(Arc::clone(&object))).catch_unwind();
        let jitter = |failures| jitter(object.meta().uid.as_deref(), failures);
        match tokio::time::timeout(R::DEADLINE, work).await {
            Ok(Ok(Ok(outcome))) => {
                self.failures.reset(key);
                match outcome {
                    Outcome::Done => (
                        Action::requeue(RESYNC.mul_f64(0.75 + 0.5 * jitter(0))),
                        Meter::Success,
                    ),
                    Outcome::After(after) => (Action::requeue(after), Meter::RequeueAfter),
                }
            }
            Ok(Ok(Err(error))) => self.failed(key, error.class(), &error, jitter),
            Ok(Err(panic)) => {
                let abort = Abort::Panic(panic_message(&*panic));
                let (action, _) = self.failed(key, Class::Transient, &abort, jitter);
                (action, Meter::Panic)
            }
            Err(_) => self.failed(key, Class::Transient, &Abort::Timeout(R::DEADLINE), jitter),
        }
    }

    fn failed(
        &self,
        key: &(String, String),
        class: Class,
        error: &(dyn std::error::Error + 'static),
        jitter: impl Fn(u32) -> f64,
    ) -> (Action, Meter) {
        let failures = match class {
            Class::Transient => self.failures.record(key),
            Class::Stalled | Class::Waiting { .. } => {
                self.failures.reset(key);
                0
            }
        };
        let after = retry_after(class, failures, jitter(failures));
        let error = chain(error);
        let meter = match class {
            Class::Transient => {
                tracing::warn!(error, failures = failures + 1, retry_after = ?after, "failed");
                Meter::Error
            }
            Class::Stalled => {
                tracing::warn!(error, retry_after = ?after, "stalled until something changes");
                Meter::Stalled
            }
            Class::Waiting { .. } => {
                tracing::debug!(waiting_for = error, retry_after = ?after, "waiting");
                Meter::RequeueAfter
            }
        };
        (Action::requeue(after), meter)
    }

    async fn unparsable(&self, object: &DeserializeGuard<R::Object>, error: &str) {
        tracing::warn!(
            error,
            "the object cannot be read; it is left alone until it changes"
        );
        let note = format!(
            "this {} cannot be read, so nothing is done for it until it is corrected: {error}",
            R::Object::kind(&())
        );
        self.events
            .publish(
                &object.object_ref(&()),
                EventType::Warning,
                Reason::InvalidSpec,
                "Read",
                &note,
            )
            .await;
    }

    fn report(&self, result: Reconciled<R::Object>) {
        match result {
            Ok(_) => {}
            // The usual end of a deletion: the object went before one of its children.
            Err(StreamError::ObjectNotFound(object)) => {
                let namespace = object.namespace.clone().unwrap_or_default();
                let key = (namespace, object.name.clone());
                self.failures.reset(&key);
                self.pace.leave(&key);
                tracing::debug!(controller = R::NAME, %object, "gone");
            }
            Err(StreamError::QueueError(error)) => {
                tracing::warn!(controller = R::NAME, %error, "a watch failed; it is tried again");
            }
            Err(StreamError::RunnerError(error)) => {
                tracing::error!(controller = R::NAME, %error, "the queue failed");
            }
            Err(StreamError::ReconcilerFailed(never, _)) => match never {},
        }
    }
}

/// Between 0 and 1: spreads objects, the same for the same object and count, so that nothing here is random.
fn jitter(uid: Option<&str>, failures: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (uid, failures).hash(&mut hasher);
    let part = u32::try_from(hasher.finish() >> 32).unwrap_or_default();
    f64::from(part) / f64::from(u32::MAX)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests;
