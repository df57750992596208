//! The errors of a registry, worded for the person who has to repair it.

use slipway_base::{
    error::{Class, Classify},
    outside::policy::Refused,
};

/// Why a request to the registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not accept the account, or the account lacks the permission.
    #[error(
        "registry {registry} does not let this account {action} {repository}{said}: check account and password"
    )]
    Unauthorised {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// What the client tried to do.
        action: &'static str,
        /// The registry's message, in brackets.
        said: String,
    },
    /// The registry has no such object.
    #[error("registry {registry} has no {what}")]
    NotFound {
        /// `host:port`.
        registry: String,
        /// What was looked for.
        what: String,
    },
    /// The registry's certificate is not trusted.
    #[error(
        "cannot trust registry {registry} ({message}): check its certificate, and the CA bundle that is set"
    )]
    Tls {
        /// `host:port`.
        registry: String,
        /// What TLS said.
        message: String,
    },
    /// The registry does not answer.
    #[error("cannot reach registry {registry} ({message}): check its address, and that it runs")]
    Unreachable {
        /// `host:port`.
        registry: String,
        /// What the network said.
        message: String,
    },
    /// An upload takes too long.
    #[error(
        "registry {registry} did not take {size} bytes of {repository} within {seconds} s: check how fast the network to it is"
    )]
    Slow {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// How many bytes it has.
        size: u64,
        /// How long the client tried, in seconds.
        seconds: u64,
    },
    /// The registry answered with an error status.
    #[error("registry {registry} refused to {action} {repository}: {message}")]
    Refused {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// What the client tried to do.
        action: &'static str,
        /// The registry's message.
        message: String,
        /// Whether the error may pass by itself.
        transient: bool,
    },
    /// The received bytes do not have the requested digest.
    #[error(
        "registry {registry} sent something else than {digest} of {repository}: the content is damaged"
    )]
    Damaged {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// The digest that was asked for.
        digest: String,
    },
    /// The registry accepted an upload but does not have it any more.
    #[error(
        "registry {registry} took {repository} {what}, and has not got it: see that nothing is cleaned up in it while it runs; if something was, restart it"
    )]
    Vanished {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// What was written.
        what: String,
    },
    /// An image for a platform that the nodes do not have.
    #[error(
        "{image} in registry {registry} is for {has}; the nodes are {wanted}: make one for {wanted}, or for both under one tag"
    )]
    OtherPlatform {
        /// `host:port`.
        registry: String,
        /// Repository, with tag or digest.
        image: String,
        /// The platforms of the image.
        has: String,
        /// The platform that the nodes need.
        wanted: String,
    },
    /// An object in the registry is not valid.
    #[error("{what} in registry {registry} is no {expected}: {message}")]
    Invalid {
        /// `host:port`.
        registry: String,
        /// What was read.
        what: String,
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The registry redirects to an address that the client does not follow.
    #[error("registry {registry} sends us {wherever}")]
    Misled {
        /// `host:port`.
        registry: String,
        /// Where it redirects to, and what to do about it.
        wherever: &'static str,
    },
    /// The policy refuses this address for tenants.
    #[error(transparent)]
    Outside(#[from] Refused),
    /// The settings of the registry are not valid.
    #[error("cannot set up the client of registry {registry}: {message}")]
    Setup {
        /// `host:port`.
        registry: String,
        /// Why.
        message: String,
    },
    /// A local file cannot be read or written.
    #[error("cannot read or write a temporary file: {0}")]
    Io(#[from] std::io::Error),
}

impl RegistryError {
    /// Whether another try soon may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { transient, .. } => *transient,
            // A connection that broke off also gives a wrong digest.
            Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Damaged { .. }
            // Some registries confirm an upload before all their parts know of it.
            | Self::Vanished { .. } => true,
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::Misled { .. }
            | Self::Outside(_)
            | Self::OtherPlatform { .. }
            | Self::Invalid { .. }
            | Self::Setup { .. }
            | Self::Io(_) => false,
        }
    }

    /// Whether a later try may help although the request stays the same: the account or the certificates may be right
    /// by then. While a password is being changed, the registry refuses the old one, too.
    pub fn may_pass(&self) -> bool {
        self.is_transient()
            || matches!(
                self,
                Self::Unauthorised { .. } | Self::Tls { .. } | Self::Misled { .. }
            )
    }
}

impl Classify for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Outside(_) | Self::OtherPlatform { .. } | Self::Invalid { .. } => Class::Stalled,
            // Accounts, certificates and images are repaired in the registry. No Kubernetes object changes then, so the
            // operator has to try again.
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Vanished { .. }
            | Self::Misled { .. }
            | Self::Setup { .. }
            | Self::Io(_) => Class::Transient,
        }
    }
}

#[cfg(test)]
mod tests;
