//! The errors of a registry, worded for the person who has to repair it.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::registry::manifest::Platform;
use slipway_base::{
    error::{Class, Classify},
    outside::policy::Refused,
    text,
};

/// Most bytes of a registry's message that are shown.
const SAID: usize = 300;

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

/// The request that an error belongs to.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    pub(super) action: &'static str,
    pub(super) what: &'a str,
}

impl Doing<'_> {
    fn not_found(&self) -> RegistryError {
        RegistryError::NotFound {
            registry: self.registry.to_owned(),
            what: format!("{} {}", self.repository, self.what)
                .trim()
                .to_owned(),
        }
    }

    fn unauthorised(&self, said: &str) -> RegistryError {
        RegistryError::Unauthorised {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            action: self.action,
            said: if said.is_empty() {
                String::new()
            } else {
                format!(" ({said})")
            },
        }
    }

    pub(super) fn unreachable(&self, message: String) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.registry.to_owned(),
            message,
        }
    }

    /// The registry did not answer, or not completely, within `wait`.
    pub(super) fn silent(&self, wait: Duration) -> RegistryError {
        self.unreachable(format!("no whole answer in {} s", wait.as_secs()))
    }

    pub(super) fn misled(&self, wherever: &'static str) -> RegistryError {
        RegistryError::Misled {
            registry: self.registry.to_owned(),
            wherever,
        }
    }

    /// The error for an answer with an error status. Of its body only messages in the registries' own format are shown:
    /// the address may belong to any server, whose answers the person who wrote the address must not see.
    pub(super) fn status(&self, status: StatusCode, body: &[u8]) -> RegistryError {
        let errors = serde_json::from_slice::<Envelope>(body).unwrap_or_default();
        let first = errors.errors.into_iter().next().unwrap_or_default();
        let said = text::line(&first.message, SAID);
        match (status.as_u16(), first.code.as_str()) {
            (401 | 403, _) | (_, "UNAUTHORIZED" | "DENIED") => self.unauthorised(&said),
            (404, _) | (_, "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" | "NOT_FOUND") => {
                self.not_found()
            }
            (code, named) => RegistryError::Refused {
                registry: self.registry.to_owned(),
                repository: self.repository.to_owned(),
                action: self.action,
                message: if said.is_empty() {
                    status.to_string()
                } else {
                    format!("{status}: {said}")
                },
                transient: code >= 500 || code == 429 || code == 408 || named == "TOOMANYREQUESTS",
            },
        }
    }

    /// The error for a request without a complete answer.
    pub(super) fn request(&self, error: reqwest::Error) -> RegistryError {
        let chain = last_causes(&error.without_url());
        let registry = self.registry.to_owned();
        // The TLS library hides its error type in an I/O error, so only the text can be searched.
        if chain.contains("certificate") || chain.contains("CertNotValid") {
            RegistryError::Tls {
                registry,
                message: chain,
            }
        } else {
            RegistryError::Unreachable {
                registry,
                message: chain,
            }
        }
    }

    /// The received bytes do not have the requested digest.
    pub(super) fn damaged(&self) -> RegistryError {
        RegistryError::Damaged {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            digest: self.what.to_owned(),
        }
    }

    /// The pushed object is not there.
    pub(super) fn vanished(&self, what: &str) -> RegistryError {
        RegistryError::Vanished {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            what: what.to_owned(),
        }
    }

    /// The image is for other platforms.
    pub(super) fn other_platform(&self, has: &str) -> RegistryError {
        let between = if self.what.starts_with("sha256:") {
            '@'
        } else {
            ':'
        };
        RegistryError::OtherPlatform {
            registry: self.registry.to_owned(),
            image: format!("image {}{between}{}", self.repository, self.what),
            has: text::line(has, SAID),
            wanted: Platform::ours().to_string(),
        }
    }

    /// The received object is of another kind. `what` and `message` may quote from it, so both are
    /// cut to one line of limited length.
    pub(super) fn invalid(
        &self,
        expected: &'static str,
        message: impl std::fmt::Display,
    ) -> RegistryError {
        let what = format!("{} {}", self.repository, self.what);
        RegistryError::Invalid {
            registry: self.registry.to_owned(),
            what: text::line(what.trim(), SAID),
            expected,
            message: text::line(&message.to_string(), SAID),
        }
    }
}

/// The last causes of an error, which say most. They leave out the address that reqwest puts in front, because the
/// reader knows it.
pub fn last_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![];
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    let from = texts.len().saturating_sub(2);
    text::line(&texts.split_off(from).join(": "), SAID)
}

/// The registries' own format for errors.
#[derive(Default, Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Vec<Said>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    code: String,
    message: String,
}

#[cfg(test)]
mod tests;
