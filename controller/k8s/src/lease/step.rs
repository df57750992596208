//! A Lease as it was seen → whether to take it, renew it, or wait. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;

/// What to do about a Lease. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Take,
    Renew,
    Wait,
}

pub(super) fn step(spec: &LeaseSpec, me: &str, unchanged_for: Duration, ours: Duration) -> Step {
    match spec.holder_identity.as_deref() {
        None | Some("") => Step::Take,
        Some(holder) if holder == me => Step::Renew,
        Some(_) => {
            let asked = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(ours, Duration::from_secs);
            if unchanged_for >= asked {
                Step::Take
            } else {
                Step::Wait
            }
        }
    }
}
