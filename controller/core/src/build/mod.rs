//! Build + settings → [`plan::BuildPlan`]. A plan is complete: a driver executes it and decides nothing.

pub mod environment;
pub mod file;
pub mod mark;
pub mod plan;
