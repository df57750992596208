//! What can go wrong with a registry, in words for whoever has to repair it.

use oci_client::errors::{OciDistributionError, OciErrorCode};
use reqwest::StatusCode;

use crate::error::{Class, Classify};

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The account is wrong, or may not do this.
    #[error(
        "registry {registry} does not let this account {action} {repository}: check account and password"
    )]
    Unauthorised {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// What was tried.
        action: &'static str,
    },
    /// There is no such thing.
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
    /// No answer.
    #[error("cannot reach registry {registry} ({message}): check its address, and that it runs")]
    Unreachable {
        /// `host:port`.
        registry: String,
        /// What the network said.
        message: String,
    },
    /// An upload that takes too long.
    #[error(
        "registry {registry} did not take {size} bytes of {repository} within {seconds} s: check how fast the network to it is"
    )]
    Slow {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// How many bytes there are.
        size: u64,
        /// How long it was tried.
        seconds: u64,
    },
    /// An answer that is no success.
    #[error("registry {registry} refused to {action} {repository}: {message}")]
    Refused {
        /// `host:port`.
        registry: String,
        /// The repository.
        repository: String,
        /// What was tried.
        action: &'static str,
        /// What it said.
        message: String,
        /// Whether it may pass by itself.
        transient: bool,
    },
    /// What came is not what its digest says.
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
    /// Something in the registry is not what it should be.
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
    /// A reference that cannot be read.
    #[error("{reference:?} is no image reference: {message}")]
    Reference {
        /// The text.
        reference: String,
        /// What is wrong with it.
        message: String,
    },
    /// The settings cannot be used.
    #[error("cannot set up the client of registry {registry}: {message}")]
    Setup {
        /// `host:port`.
        registry: String,
        /// Why.
        message: String,
    },
    /// A local file.
    #[error("cannot read or write a temporary file: {0}")]
    Io(#[from] std::io::Error),
}

impl RegistryError {
    /// Whether trying again soon may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { transient, .. } => *transient,
            // A connection that broke in the middle looks damaged, too.
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Damaged { .. } => true,
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::Invalid { .. }
            | Self::Reference { .. }
            | Self::Setup { .. }
            | Self::Io(_) => false,
        }
    }
}

impl Classify for RegistryError {
    fn class(&self) -> Class {
        match self {
            Self::Reference { .. } | Self::Invalid { .. } => Class::Stalled,
            // Accounts, certificates and images are repaired on the other side: nothing here changes then.
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::Tls { .. }
            | Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Refused { .. }
            | Self::Damaged { .. }
            | Self::Setup { .. }
            | Self::Io(_) => Class::Transient,
        }
    }
}

/// What was being done when it went wrong.
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

    fn unauthorised(&self) -> RegistryError {
        RegistryError::Unauthorised {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            action: self.action,
        }
    }

    fn refused(&self, message: String, transient: bool) -> RegistryError {
        RegistryError::Refused {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            action: self.action,
            message,
            transient,
        }
    }

    /// The error of a status code.
    fn status(&self, code: u16, message: &str) -> RegistryError {
        match code {
            401 | 403 => self.unauthorised(),
            404 => self.not_found(),
            _ => self.refused(
                format!("{code} {message}").trim().to_owned(),
                code >= 500 || code == 429 || code == 408,
            ),
        }
    }

    /// The error of a request that had no answer, or no good one.
    fn request(&self, error: &reqwest::Error) -> RegistryError {
        if let Some(status) = error.status() {
            return self.status(
                status.as_u16(),
                status.canonical_reason().unwrap_or_default(),
            );
        }
        let chain = chain(error);
        let registry = self.registry.to_owned();
        // The TLS stack hides its own type in an I/O error: the words are all there is.
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

    /// Tells the client's errors apart.
    pub(super) fn error(&self, error: OciDistributionError) -> RegistryError {
        match error {
            OciDistributionError::RequestError(error) => self.request(&error),
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => self.unauthorised(),
            OciDistributionError::ServerError { code, message, .. } => {
                self.status(code, &shorten(&message))
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let first = envelope.errors.first().map(|error| &error.code);
                match first {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::NotFound,
                    ) => self.not_found(),
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => self.unauthorised(),
                    Some(OciErrorCode::Toomanyrequests) => {
                        self.refused("too many requests".to_owned(), true)
                    }
                    _ => self.refused(shorten(&envelope.to_string()), false),
                }
            }
            OciDistributionError::ImageManifestNotFoundError(_) => self.not_found(),
            OciDistributionError::DigestError(_) => self.damaged(),
            OciDistributionError::IoError(error) => RegistryError::Unreachable {
                registry: self.registry.to_owned(),
                message: error.to_string(),
            },
            other => self.refused(shorten(&other.to_string()), false),
        }
    }

    /// What came is not what its digest says.
    pub(super) fn damaged(&self) -> RegistryError {
        RegistryError::Damaged {
            registry: self.registry.to_owned(),
            repository: self.repository.to_owned(),
            digest: self.what.to_owned(),
        }
    }

    /// What came is of another kind.
    pub(super) fn invalid(
        &self,
        expected: &'static str,
        message: impl std::fmt::Display,
    ) -> RegistryError {
        RegistryError::Invalid {
            registry: self.registry.to_owned(),
            what: format!("{} {}", self.repository, self.what)
                .trim()
                .to_owned(),
            expected,
            message: message.to_string(),
        }
    }

    /// A stream broke: the network, or the digest at its end.
    pub(super) fn stream(&self, error: &std::io::Error) -> RegistryError {
        let message = chain(error);
        if message.to_lowercase().contains("digest") {
            return self.damaged();
        }
        RegistryError::Unreachable {
            registry: self.registry.to_owned(),
            message,
        }
    }
}

/// The last causes of an error, which say most; the address that reqwest puts in front is known to the reader.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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
    shorten(&texts.split_off(from).join(": "))
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(300).collect()
}

/// Whether a status means that the thing is not there.
pub(super) fn is_absent(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => error.status() == Some(StatusCode::NOT_FOUND),
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => {
            envelope.errors.iter().any(|error| {
                matches!(
                    error.code,
                    OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                )
            })
        }
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        _ => false,
    }
}
