//! What the cluster shows of a Release → how it stands, and in which words. Pure.
//!
//! [`rollout`] judges one that rolls out, [`serving`] one that serves; both ask [`trouble`] what is wrong with a pod. What
//! they are told is [`seen::Seen`]; what they find becomes a [`status`].

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
