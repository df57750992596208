//! What the cluster shows of a Release → its state, in words. Pure.
//!
//! [`rollout`] judges a Release that rolls out, [`serving`] one that serves; both use [`trouble`] to find what is wrong
//! with a pod. Their input is [`seen::Seen`]; their findings become a [`status`].

mod endpoints;
pub mod lines;
pub mod pods;
pub mod rollout;
pub mod seen;
pub mod serving;
pub mod status;
#[cfg(test)]
mod tests;
pub mod times;
pub mod trouble;
