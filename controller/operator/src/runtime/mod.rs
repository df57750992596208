//! Command line, environment and files → a running process. The only place that reads the environment and the clock.

pub mod args;
pub mod clock;
mod error;
mod flags;
pub mod hash_key;
mod leader;
pub mod operator;
mod parts;
mod registry;
mod runner;
pub mod settings;
pub mod signal;
