//! The real clock.

use std::sync::Arc;

use slipway_k8s::clock::Clock;

/// Returns the machine's time.
#[expect(
    clippy::disallowed_methods,
    reason = "the one clock, handed to whoever needs the time"
)]
pub fn real() -> Clock {
    Arc::new(jiff::Timestamp::now)
}
