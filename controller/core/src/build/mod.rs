//! Build + settings → [`plan::BuildPlan`]. A plan is finished: a driver executes it and decides nothing.

pub mod environment;
pub mod file;
pub mod plan;
