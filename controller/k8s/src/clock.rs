//! Time as an argument: whoever needs the present moment is handed this; `runtime` makes the only real one.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
