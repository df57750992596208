//! Meters of the controllers: how reconciles end, how long they take and how many run.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Labels of a controller's meters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByController {
    controller: &'static str,
}

/// Labels of a controller's outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    controller: &'static str,
    result: &'static str,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded, and nothing is left to do now.
    Success,
    /// It asked for another reconcile after some time.
    RequeueAfter,
    /// It failed and is tried again.
    Error,
    /// It failed and is not tried again before something changes.
    Stalled,
    /// It panicked.
    Panic,
    /// The object could not be read.
    Unparsable,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error | Self::Panic => "error",
            Self::Stalled | Self::Unparsable => "stalled",
        }
    }
}

type Counters = Family<ByController, Counter>;

type Gauges = Family<ByController, Gauge>;

/// Meters of the controllers.
#[derive(Clone, Debug)]
pub struct ControllerMeters {
    reconciles: Family<ByOutcome, Counter>,
    errors: Counters,
    terminal_errors: Counters,
    panics: Counters,
    unparsable: Counters,
    seconds: Family<ByController, Histogram>,
    active: Gauges,
    concurrency: Gauges,
    retries: Counters,
}

impl ControllerMeters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            terminal_errors: Family::default(),
            panics: Family::default(),
            unparsable: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.005, 2.0, 15))
            }),
            active: Family::default(),
            concurrency: Family::default(),
            retries: Family::default(),
        };
        meters.register_outcomes(registry);
        meters.register_work(registry);
        meters
    }

    /// Registers what says how reconciles end.
    fn register_outcomes(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles by result",
            self.reconciles.clone(),
        );
        for (name, help, counters) in [
            (
                "controller_runtime_reconcile_errors",
                "Reconciles that failed",
                &self.errors,
            ),
            (
                "controller_runtime_terminal_reconcile_errors",
                "Reconciles that failed and are not tried again before a change",
                &self.terminal_errors,
            ),
            (
                "controller_runtime_reconcile_panics",
                "Reconciles that panicked",
                &self.panics,
            ),
            (
                "slipway_unparsable_objects",
                "Objects that could not be read, each time they were seen",
                &self.unparsable,
            ),
            (
                "workqueue_retries",
                "Objects that were put back after an error",
                &self.retries,
            ),
        ] {
            registry.register(name, help, counters.clone());
        }
    }

    /// Registers what says how long reconciles take and how many run.
    fn register_work(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconcile took",
            self.seconds.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles that run now",
            self.active.clone(),
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "How many reconciles may run at once",
            self.concurrency.clone(),
        );
    }

    /// Counts a reconcile as running until the returned guard is dropped.
    pub fn begin(&self, controller: &'static str) -> Running {
        let gauge = self
            .active
            .get_or_create(&ByController { controller })
            .clone();
        gauge.inc();
        Running(gauge)
    }

    /// Sets how many reconciles may run at once.
    pub fn limit(&self, controller: &'static str, most: u16) {
        self.concurrency
            .get_or_create(&ByController { controller })
            .set(i64::from(most));
    }

    /// Counts a reconcile that ended.
    pub fn end(&self, controller: &'static str, outcome: Outcome, took: Duration) {
        let by = ByController { controller };
        let result = outcome.as_str();
        self.reconciles
            .get_or_create(&ByOutcome { controller, result })
            .inc();
        self.seconds.get_or_create(&by).observe(took.as_secs_f64());
        match outcome {
            Outcome::Success | Outcome::RequeueAfter => {}
            Outcome::Error => self.failed(&by),
            Outcome::Panic => {
                self.failed(&by);
                self.panics.get_or_create(&by).inc();
            }
            Outcome::Stalled => {
                self.terminal_errors.get_or_create(&by).inc();
            }
            Outcome::Unparsable => {
                self.terminal_errors.get_or_create(&by).inc();
                self.unparsable.get_or_create(&by).inc();
            }
        }
    }

    fn failed(&self, by: &ByController) {
        self.errors.get_or_create(by).inc();
        self.retries.get_or_create(by).inc();
    }
}

/// Guard of a running reconcile.
#[derive(Debug)]
pub struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
