//! What every program of Slipway shares, those in builds and pods among them: no async runtime, no client, no
//! Kubernetes.

pub mod disk;
pub mod error;
pub mod files;
pub mod outside;
pub mod reference;
pub mod text;
pub mod zone;
