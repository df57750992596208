//! Runs a [`slipway_core::build::plan::BuildPlan`]: the [`contract`] of a driver, and the driver of a Docker Engine. A
//! driver carries out a plan and makes no decisions.

pub mod archive;
pub mod contract;
pub mod docker;
mod error;
pub mod frames;
pub mod log;
