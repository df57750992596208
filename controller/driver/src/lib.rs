//! What runs a [`slipway_core::build::plan::BuildPlan`]: the [`contract`] of a driver, and the driver of a Docker
//! Engine. A driver executes a plan and decides nothing.

pub mod archive;
pub mod contract;
pub mod docker;
pub mod log;
