//! Clients of servers that an App or an administrator names: git servers, web servers for downloads, OCI registries.
//! What they send and read is limited, and [`resolve`] checks each address against the policy of
//! `slipway_base::outside`.

pub mod git;
pub mod registry;
pub mod resolve;
pub mod web;
