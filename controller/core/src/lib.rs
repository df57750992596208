//! What is decided, and nothing that is done: API types and text in, verdicts, objects and plans out. Pure; no client,
//! no runtime, no clock.

pub mod build;
pub mod decide;
pub mod desired;
pub mod domain;
pub mod settings;
