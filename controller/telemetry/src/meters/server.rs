//! Meters of the API server: requests to it, and the Lease that it holds.

use std::sync::atomic::AtomicU64;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

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
    pub(super) fn new(registry: &mut Registry) -> Self {
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
    pub(super) fn new(registry: &mut Registry) -> Self {
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
