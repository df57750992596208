//! Why the operator ends.

use std::{io, net::SocketAddr};

use tokio::task::JoinError;

use crate::runtime::{hash_key::HashKeyError, settings::SettingsError};
use slipway_k8s::client::ClientError;
use slipway_remotes::{registry::RegistryError, web::WebError};

/// Name of the Lease that the leader holds.
pub(super) const LEASE: &str = "slipway-operator";

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It cannot reach the cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It has no hash key.
    #[error(transparent)]
    HashKey(#[from] HashKeyError),
    /// The registry cannot be used as it is set.
    #[error("registry: {0}")]
    Registry(#[from] RegistryError),
    /// The certificates of the settings cannot be read.
    #[error("builds.ca: {0}")]
    Web(#[from] WebError),
    /// It cannot listen.
    #[error("cannot listen on {address}, which {flag} sets")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The flag that sets the address.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot handle the signals that stop it.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// It lost the lease; another replica may lead.
    #[error("the lease {LEASE} is lost: another replica may lead by now")]
    LeaseLost,
    /// A second signal stopped it at once.
    #[error("stopped at once by a second signal")]
    Forced,
    /// One of its parts ended.
    #[error("{0} ended by itself")]
    Ended(&'static str),
    /// One of its parts panicked.
    #[error("a part of the operator panicked")]
    Panicked(#[source] JoinError),
}
