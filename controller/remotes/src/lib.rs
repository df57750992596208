//! Servers that an App or an administrator names: git servers, downloads, OCI registries. What is sent and read there
//! is bounded, and [`resolve`] holds each address to the policy of `slipway_base::outside`.

pub mod git;
pub mod registry;
pub mod resolve;
pub mod web;
