//! The small static programs that run where the operator does not: in the build zone, in images, in pods. No async
//! runtime.

pub mod builder;
pub mod launcher;
pub mod pack;
pub mod prober;
