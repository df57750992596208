//! Metrics, log lines and health checks. Each meter is made once and passed to the code that counts; there is no global
//! state. This crate uses no other crate of Slipway.

pub mod admin;
pub mod meters;
pub mod trace;
