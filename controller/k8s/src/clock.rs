//! Time as an argument. Code that needs the current time is given a [`Clock`]; `runtime` makes the only real one.

use std::sync::Arc;

use jiff::Timestamp;

/// Returns the current time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
