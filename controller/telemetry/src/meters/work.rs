//! Meters of what Apps wait for: builds and roll-outs.

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
    reason: &'static str,
}

/// The result of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildResult {
    /// It made an image.
    Succeeded,
    /// It made no image.
    Failed,
    /// It was cancelled, because it was no longer needed.
    Cancelled,
}

/// Times of a build that was started.
#[derive(Clone, Copy, Debug)]
pub struct BuildTimes {
    /// From the Build's creation until its start.
    pub queued: Duration,
    /// From its start until its end.
    pub took: Duration,
}

/// Meters of builds.
#[derive(Clone, Debug)]
pub struct BuildMeters {
    builds: Family<ByResult, Counter>,
    queued: Histogram,
    seconds: Histogram,
    running: Gauge,
}

impl BuildMeters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            builds: Family::default(),
            queued: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            seconds: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            running: Gauge::default(),
        };
        let Self {
            builds,
            queued,
            seconds,
            running,
        } = meters.clone();
        registry.register(
            "slipway_builds",
            "Builds that ended, by result and reason",
            builds,
        );
        registry.register(
            "slipway_build_queue_seconds",
            "How long a build waited for its turn",
            queued,
        );
        registry.register(
            "slipway_build_duration_seconds",
            "How long a build took",
            seconds,
        );
        registry.register("slipway_builds_running", "Builds that run now", running);
        meters
    }

    /// Counts a build that ended. `reason` is one of the condition reasons. `times` is `None` for a build that never
    /// started.
    pub fn ended(&self, result: BuildResult, reason: &'static str, times: Option<BuildTimes>) {
        let result = match result {
            BuildResult::Succeeded => "succeeded",
            BuildResult::Failed => "failed",
            BuildResult::Cancelled => "cancelled",
        };
        self.builds
            .get_or_create(&ByResult { result, reason })
            .inc();
        if let Some(BuildTimes { queued, took }) = times {
            self.queued.observe(queued.as_secs_f64());
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// Sets how many builds run.
    pub fn running(&self, count: usize) {
        self.running.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEnd {
    result: &'static str,
}

/// Meters of roll-outs.
#[derive(Clone, Debug)]
pub struct DeployMeters {
    seconds: Family<ByEnd, Histogram>,
}

impl DeployMeters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.5, 2.0, 13))
            }),
        };
        registry.register(
            "slipway_deploy_duration_seconds",
            "How long a Release took until it served or failed",
            meters.seconds.clone(),
        );
        meters
    }

    /// Counts a roll-out that ended.
    pub fn ended(&self, serves: bool, took: Duration) {
        let result = if serves { "succeeded" } else { "failed" };
        self.seconds
            .get_or_create(&ByEnd { result })
            .observe(took.as_secs_f64());
    }
}
