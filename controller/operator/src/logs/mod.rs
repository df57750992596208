//! Serves a Build's log, through the cluster's own API, to everybody who may `get` the Build.
//!
//! ```text
//! kubectl, slipway logs ──▶ API server ──front proxy, mutual TLS──▶ any replica of the operator
//!                           (who it is)                              (may it? SubjectAccessReview) ──▶ engine or registry
//! ```
//!
//! The API server says who asks; a connection without a certificate of its front proxy is refused. This module writes
//! only the serving certificate and its registration.

pub mod certificate;
pub mod discovery;
pub mod door;
pub mod front_proxy;
pub mod kept;
pub mod pace;
mod refusal;
mod requests;
mod review;
pub mod seats;
pub mod server;
pub mod source;
pub mod terms;

/// API group under which logs are read.
pub const GROUP: &str = "logs.slipway.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";

/// Path of a Build's log.
pub fn path(namespace: &str, build: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/builds/{build}/log")
}
