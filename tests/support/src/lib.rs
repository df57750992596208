//! What tests of several crates share.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "for tests, which fail by a panic"
)]

pub mod docker_engine;
pub mod fake_api;
pub mod git_server;
