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
    Api, Client, Resource,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use slipway_crds::conditions::Reason;
use tracing::Instrument as _;

use crate::controllers::reconcile::{Outcome, Reconcile};
use slipway_base::error::{Class, Classify as _, retry_after};
use slipway_k8s::{
    backoff::Failures,
    cache::Key,
    classify::{self, chain, found},
    events::{EventType, Publisher},
};
use slipway_telemetry::meters::{ControllerMeters, Outcome as Meter};

/// What all attempts of a controller share.
pub(super) struct Shared<R: Reconcile> {
    pub(super) reconciler: Arc<R>,
    client: Client,
    events: Publisher,
    meters: ControllerMeters,
    failures: Failures<Key>,
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
    pub(super) fn new(
        reconciler: Arc<R>,
        client: Client,
        events: Publisher,
        meters: ControllerMeters,
    ) -> Self {
        meters.limit(R::NAME, R::CONCURRENCY);
        Self {
            reconciler,
            client,
            events,
            meters,
            failures: Failures::default(),
            sequence: AtomicU64::new(0),
        }
    }

    /// One attempt, with its span, time limit, meters and back-off. Returns after what time the next one is due, if
    /// nothing changes before; `None` if there is nothing to do until something changes.
    pub(super) async fn attempt(&self, key: &Key) -> Option<Duration> {
        let id = self.sequence.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!(
            "reconcile", controller = R::NAME, namespace = %key.0, name = %key.1, reconcile_id = id,
        );
        async {
            let Some(kept) = self.reconciler.cache().get(&key.0, &key.1) else {
                self.failures.reset(key);
                tracing::debug!("gone");
                return None;
            };
            let _running = self.meters.begin(R::NAME);
            let began = Instant::now();
            let (again, outcome) = match kept.object.0 {
                Ok(object) if kept.whole || !R::WHOLE => self.known(key, object).await,
                Ok(_) => self.read(key).await,
                Err(invalid) => self.unparsable(invalid).await,
            };
            let took = began.elapsed();
            self.meters.end(R::NAME, outcome, took);
            tracing::debug!(?outcome, took_ms = took.as_millis(), "reconciled");
            again
        }
        .instrument(span)
        .await
    }

    /// An attempt for an object of which the cache has only a part.
    async fn read(&self, key: &Key) -> (Option<Duration>, Meter) {
        let api: Api<DeserializeGuard<R::Object>> = Api::namespaced(self.client.clone(), &key.0);
        match found(api.get(&key.1).await) {
            Ok(Some(DeserializeGuard(Ok(object)))) => self.known(key, object).await,
            Ok(Some(DeserializeGuard(Err(invalid)))) => self.unparsable(invalid).await,
            Ok(None) => (None, Meter::Success),
            Err(error) => self.failed(key, classify::class(&error), &error, |failures| {
                jitter(None, failures)
            }),
        }
    }

    async fn known(&self, key: &Key, object: R::Object) -> (Option<Duration>, Meter) {
        let object = Arc::new(object);
        let work = AssertUnwindSafe(self.reconciler.reconcile(Arc::clone(&object))).catch_unwind();
        let jitter = |failures| jitter(object.meta().uid.as_deref(), failures);
        match tokio::time::timeout(R::DEADLINE, work).await {
            Ok(Ok(Ok(outcome))) => {
                self.failures.reset(key);
                match outcome {
                    Outcome::Done => (None, Meter::Success),
                    Outcome::After(after) => (Some(after), Meter::RequeueAfter),
                }
            }
            Ok(Ok(Err(error))) => self.failed(key, error.class(), &error, jitter),
            Ok(Err(panic)) => {
                let abort = Abort::Panic(panic_message(&*panic));
                let (again, _) = self.failed(key, Class::Transient, &abort, jitter);
                (again, Meter::Panic)
            }
            Err(_) => self.failed(key, Class::Transient, &Abort::Timeout(R::DEADLINE), jitter),
        }
    }

    fn failed(
        &self,
        key: &Key,
        class: Class,
        error: &(dyn std::error::Error + 'static),
        jitter: impl Fn(u32) -> f64,
    ) -> (Option<Duration>, Meter) {
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
        (Some(after), meter)
    }

    async fn unparsable(&self, invalid: InvalidObject) -> (Option<Duration>, Meter) {
        let error = invalid.error.as_str();
        tracing::warn!(
            error,
            "the object cannot be read; it is left alone until it changes"
        );
        let note = format!(
            "this {} cannot be read, so nothing is done for it until it is corrected: {error}",
            R::Object::kind(&())
        );
        let object: DeserializeGuard<R::Object> = DeserializeGuard(Err(invalid.clone()));
        let about = object.object_ref(&());
        let (kind, reason) = (EventType::Warning, Reason::InvalidSpec);
        self.events
            .publish(&about, kind, reason, "Read", &note)
            .await;
        (None, Meter::Unparsable)
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
