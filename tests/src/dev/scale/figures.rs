//! What was measured, by name.

use serde::Serialize;
use serde_json::Value;

use crate::dev::scale::requests::Requests;

/// Figures of one operator, or of what was made by hand. `None` if a figure does not apply or was not reached in time.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) apps: usize,
    /// How long kubectl took to apply everything.
    pub(super) seconds_of_kubectl: f64,
    pub(super) seconds_to_converge: f64,
    pub(super) first_status_median: f64,
    pub(super) first_status_maximum: f64,
    pub(super) api_server_cpu_seconds_per_app: f64,
    pub(super) requests_per_app: Option<f64>,
    /// By how much the peak while they are made is above the peak before that.
    pub(super) kilobytes_of_memory_per_app: Option<f64>,
    pub(super) kilobytes_on_the_wire_per_app: Option<f64>,
    pub(super) cpu_seconds_per_app: Option<f64>,
    pub(super) peak_megabytes_creating: Option<f64>,
    pub(super) peak_megabytes_restarting: Option<f64>,
    pub(super) seconds_from_restart_to_steady: Option<f64>,
    pub(super) requests_of_restart_per_app: Option<f64>,
    pub(super) seconds_of_a_change: Option<f64>,
    pub(super) requests_of_a_change: Option<f64>,
    pub(super) requests_in_an_idle_minute: Option<u64>,
    pub(super) writes_in_an_idle_minute: Option<u64>,
    pub(super) requests: OfPhases,
}

/// The requests of each phase.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct OfPhases {
    /// While the Apps were made.
    pub(super) creation: Requests,
    /// While the operator came back from its restart.
    pub(super) restart: Requests,
    /// While some Apps were changed.
    pub(super) changes: Requests,
    /// While nothing happened, for a minute.
    pub(super) idle: Requests,
}

pub(super) fn per(sum: u64, count: usize) -> f64 {
    Value::from(sum).as_f64().unwrap_or(f64::NAN) / as_f64(count)
}

pub(super) fn as_f64(count: usize) -> f64 {
    Value::from(count).as_f64().unwrap_or(f64::NAN)
}
