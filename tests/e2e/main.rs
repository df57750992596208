//! What a user sees, on the real cluster: `make e2e`. Each case has a namespace of its own.
#![allow(clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod apis;
mod builds;
mod checks;
mod config;
mod crash;
mod deploy;
mod hostile;
mod lifecycle;
mod logs;
mod newcomer;
mod ownership;
mod replicas;
mod scaling;
mod settings;
mod sources;
mod traffic;
mod waiting;
