//! Build + settings → [`plan::BuildPlan`] → containers → image.
//!
//! A plan is finished: a driver executes it and decides nothing.

pub mod archive;
pub mod docker;
pub mod driver;
pub mod environment;
pub mod log;
pub mod plan;
