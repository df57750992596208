//! A Build's log, for whoever may `get` the Build, over the cluster's own API.
//!
//! ```text
//! kubectl, slipway logs ──▶ API server ──front proxy, mutual TLS──▶ any replica of the operator
//!                           (who it is)                              (may it? SubjectAccessReview) ──▶ engine or registry
//! ```
//!
//! The API server says who asks, and nobody else is believed: a connection needs a certificate of its front proxy.
//! Nothing is written here but the serving certificate and its registration.

pub mod certificate;
pub mod discovery;
pub mod door;
pub mod front_proxy;
pub mod kept;
pub mod pace;
pub mod seats;
pub mod server;
pub mod source;

/// API group under which logs are read.
pub const GROUP: &str = "logs.slipway.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";

/// Path of a Build's log.
pub fn path(namespace: &str, build: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/builds/{build}/log")
}
