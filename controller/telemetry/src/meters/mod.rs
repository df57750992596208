//! The meters, under the names that dashboards use.

use std::{sync::atomic::AtomicU64, time::Duration};

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

/// All meters of the process and their registry.
#[derive(Debug)]
pub struct Meters {
    /// What `/metrics` shows.
    pub registry: Registry,
    /// Meters of the controllers.
    pub controllers: ControllerMeters,
    /// Meters of builds.
    pub builds: BuildMeters,
    /// Meters of roll-outs.
    pub deploys: DeployMeters,
    /// Meters of requests to the API server.
    pub client: ClientMeters,
    /// Meters of the Lease.
    pub leadership: LeadershipMeters,
}

impl Meters {
    /// Registers all meters. `version` is the operator's own version.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "slipway_build",
            "Version of the operator",
            Info::new([("version", version)]),
        );
        let controllers = ControllerMeters::new(&mut registry);
        let builds = BuildMeters::new(&mut registry);
        let deploys = DeployMeters::new(&mut registry);
        let client = ClientMeters::new(&mut registry);
        let leadership = LeadershipMeters::new(&mut registry);
        Self {
            registry,
            controllers,
            builds,
            deploys,
            client,
            leadership,
        }
    }
}

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
    fn new(registry: &mut Registry) -> Self {
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
        let Self {
            reconciles,
            errors,
            terminal_errors,
            panics,
            unparsable,
            seconds,
            active,
            concurrency,
            retries,
        } = meters.clone();
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles by result",
            reconciles,
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed",
            errors,
        );
        registry.register(
            "controller_runtime_terminal_reconcile_errors",
            "Reconciles that failed and are not tried again before a change",
            terminal_errors,
        );
        registry.register(
            "controller_runtime_reconcile_panics",
            "Reconciles that panicked",
            panics,
        );
        registry.register(
            "slipway_unparsable_objects",
            "Objects that could not be read, each time they were seen",
            unparsable,
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconcile took",
            seconds,
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles that run now",
            active,
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "How many reconciles may run at once",
            concurrency,
        );
        registry.register(
            "workqueue_retries",
            "Objects that were put back after an error",
            retries,
        );
        meters
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
    fn new(registry: &mut Registry) -> Self {
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
    fn new(registry: &mut Registry) -> Self {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCall {
    code: String,
    method: &'static str,
}

/// Meters of requests to the API server.
#[derive(Clone, Debug)]
pub struct ClientMeters {
    requests: Family<ByCall, Counter>,
}

impl ClientMeters {
    fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            requests: Family::default(),
        };
        registry.register(
            "rest_client_requests",
            "Requests to the API server by method and status code",
            meters.requests.clone(),
        );
        meters
    }

    /// Counts a request that was answered with `code`; `None` means no answer.
    pub fn answered(&self, method: &Method, code: Option<StatusCode>) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.as_str().to_owned());
        self.requests.get_or_create(&ByCall { code, method }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByName {
    name: String,
}

/// Meters of the Lease.
#[derive(Clone, Debug)]
pub struct LeadershipMeters {
    leader: Family<ByName, Gauge<f64, AtomicU64>>,
}

impl LeadershipMeters {
    fn new(registry: &mut Registry) -> Self {
        let leader = Family::default();
        registry.register(
            "leader_election_master_status",
            "Whether this replica leads",
            Family::clone(&leader),
        );
        Self { leader }
    }

    /// Sets whether this replica holds the Lease.
    pub fn set(&self, lease: &str, leads: bool) {
        self.leader
            .get_or_create(&ByName {
                name: lease.to_owned(),
            })
            .set(if leads { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::{BuildResult, BuildTimes, Meters, Outcome};
    use http::{Method, StatusCode};
    use prometheus_client::encoding::text::encode;
    use std::time::Duration;

    #[test]
    fn the_names_are_those_that_dashboards_know() {
        let meters = Meters::new("1.2.3");
        let running = meters.controllers.begin("app");
        meters.controllers.limit("app", 8);
        meters
            .controllers
            .end("app", Outcome::Success, Duration::from_millis(7));
        meters
            .controllers
            .end("app", Outcome::Panic, Duration::from_millis(7));
        meters
            .controllers
            .end("app", Outcome::Unparsable, Duration::ZERO);
        let times = BuildTimes {
            queued: Duration::from_secs(2),
            took: Duration::from_secs(3),
        };
        meters
            .builds
            .ended(BuildResult::Failed, "BuildFailed", Some(times));
        meters
            .builds
            .ended(BuildResult::Cancelled, "Superseded", None);
        meters.deploys.ended(true, Duration::from_secs(4));
        meters.client.answered(&Method::PATCH, Some(StatusCode::OK));
        meters.client.answered(&Method::GET, None);
        meters.leadership.set("slipway", true);
        let mut text = String::new();
        encode(&mut text, &meters.registry).unwrap();
        for line in [
            "slipway_builds_total{result=\"cancelled\",reason=\"Superseded\"} 1",
            "slipway_build_queue_seconds_sum 2.0",
            "slipway_build_duration_seconds_count 1",
            "slipway_deploy_duration_seconds_count{result=\"succeeded\"} 1",
            "rest_client_requests_total{code=\"200\",method=\"PATCH\"} 1",
            "rest_client_requests_total{code=\"<error>\",method=\"GET\"} 1",
            "controller_runtime_reconcile_total{controller=\"app\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"app\",result=\"error\"} 1",
            "controller_runtime_reconcile_errors_total{controller=\"app\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"app\"} 1",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"app\"} 1",
            "controller_runtime_reconcile_time_seconds_count{controller=\"app\"} 3",
            "controller_runtime_active_workers{controller=\"app\"} 1",
            "controller_runtime_max_concurrent_reconciles{controller=\"app\"} 8",
            "workqueue_retries_total{controller=\"app\"} 1",
            "slipway_builds_total{result=\"failed\",reason=\"BuildFailed\"} 1",
            "slipway_build_info{version=\"1.2.3\"} 1",
            "leader_election_master_status{name=\"slipway\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(running);
        text.clear();
        encode(&mut text, &meters.registry).unwrap();
        assert!(text.contains("controller_runtime_active_workers{controller=\"app\"} 0"));
    }
}
