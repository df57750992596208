//! One attempt of a reconcile: its span, time limit, meters and back-off.
//!
//! A panic is counted, and the attempt is made again. An object that cannot be parsed is reported and delays no other.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use kube::{
    Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        controller::{Action, Error as StreamError},
        events::EventType,
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use slipway_crds::conditions::Reason;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::controllers::{
    pace::Pace,
    reconcile::{Outcome, Reconcile},
};
use slipway_base::error::{Class, Classify as _, retry_after};
use slipway_k8s::{backoff::Failures, classify::chain, events::Publisher};
use slipway_telemetry::meters::{ControllerMeters, Outcome as Meter};

/// About how often an object is reconciled without any change.
const RESYNC: Duration = Duration::from_hours(1);

/// The reconcile function handles its errors itself, so the controller's stream has none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Never {}

pub(super) type Reconciled<K> =
    Result<(ObjectRef<DeserializeGuard<K>>, Action), StreamError<Never, watcher::Error>>;

/// What all attempts of a controller share.
pub(super) struct Shared<R: Reconcile> {
    pub(super) reconciler: Arc<R>,
    events: Publisher,
    meters: ControllerMeters,
    failures: Failures<(String, String)>,
    /// Limits the reconciles of all namespaces together.
    slots: Semaphore,
    /// Lets the objects that exist at the start into the queue, a few at a time.
    pub(super) pace: Arc<Pace>,
    sequence: AtomicU64,
}

/// Why a reconcile was aborted.
#[derive(Debug, thiserror::Error)]
enum Abort {
    #[error("a reconcile panicked: {0}")]
    Panic(String),
    #[error("a reconcile took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

impl<R: Reconcile> Shared<R> {
    /// Before the first attempt.
    pub(super) fn new(reconciler: Arc<R>, events: Publisher, meters: ControllerMeters) -> Self {
        meters.limit(R::NAME, R::CONCURRENCY);
        Self {
            reconciler,
            events,
            meters,
            failures: Failures::default(),
            slots: Semaphore::new(usize::from(R::CONCURRENCY)),
            pace: Arc::default(),
            sequence: AtomicU64::new(0),
        }
    }

    /// One attempt, with its span, time limit, meters and back-off.
    pub(super) async fn attempt(
        &self,
        object: Arc<DeserializeGuard<R::Object>>,
        store: &Store<DeserializeGuard<R::Object>>,
    ) -> Action {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        // The semaphore is never closed: it lives as long as `self`.
        let _slot = self.slots.acquire().await;
        self.pace.leave(&key);
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!(
            "reconcile", controller = R::NAME, namespace = %key.0, name = %key.1, reconcile_id = id,
        );
        async {
            // The latest version: the object may have waited long.
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

    /// Logs errors of the stream, outside of attempts.
    pub(super) fn report(&self, result: Reconciled<R::Object>) {
        match result {
            Ok(_) => {}
            // Usual when an owner is deleted: it is gone before one of its children is.
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

/// Between 0 and 1: spreads objects over time. It depends on the object and the count only, so that nothing here is
/// random.
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
