//! The small static programs that run in the build zone, in images and in pods. They use no async runtime.

pub mod builder;
pub mod launcher;
pub mod pack;
pub mod prober;
