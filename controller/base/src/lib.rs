//! What all programs of Slipway share, including those that run in builds and pods. No async runtime, no client, no
//! Kubernetes types.

pub mod disk;
pub mod error;
pub mod files;
pub mod outside;
pub mod reference;
pub mod text;
pub mod zone;
