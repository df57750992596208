//! Build + settings → [`plan::BuildPlan`] → containers → image.
//!
//! A plan is finished: a driver executes it and decides nothing.

pub mod driver;
pub mod plan;
