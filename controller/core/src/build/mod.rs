//! How a build runs: settings and Build → [`plan::BuildPlan`], which a driver executes; the state of its zones → the
//! [`next`] step, and the status.

pub mod environment;
pub mod file;
pub mod mark;
pub mod next;
pub mod plan;
pub mod queue;
pub mod status;
pub mod zones;
