//! The meters, under the names that dashboards use.

mod controllers;
mod server;
mod work;

pub use controllers::{ControllerMeters, Outcome, Running};
use prometheus_client::{metrics::info::Info, registry::Registry};
pub use server::{ClientMeters, LeadershipMeters};
pub use work::{BuildMeters, BuildResult, BuildTimes, DeployMeters};

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
