//! What a user sees, on the real cluster: `make e2e`. Each case has a namespace of its own.
#![allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod alone;
mod apis;
mod builds;
mod checks;
mod config;
mod deploy;
mod hostile;
mod lifecycle;
mod logs;
mod newcomer;
mod ownership;
mod scaling;
mod sources;
mod waiting;
