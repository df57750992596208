//! Why an App's Releases could not be reconciled, what is reported about it, and when the operator tries again.

use std::time::Duration;

use slipway_base::error::{Class, Classify};
use slipway_core::desired::UnknownRenderer;
use slipway_crds::conditions::Reason;
use slipway_k8s::{apply::ApplyError, classify};

/// Why an App's Releases could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be read.
    #[error("cannot read the App's {what}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// An object could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An object could not be deleted.
    #[error("cannot delete {name}")]
    Delete {
        /// Which.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// An object of the wanted name is being deleted.
    #[error("{kind} {name} is being deleted; it is made again when it has gone")]
    Going {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A claim cannot be changed as the App's storage asks.
    #[error(
        "the claim {name} cannot be changed as spec.storage asks, and stays as it is: {why}. Put the entry back, or add another one and move the data"
    )]
    Claim {
        /// Which.
        name: String,
        /// What the API server says.
        why: String,
    },
    /// A Release cannot be read: it is unknown which one has to run, and what runs is left as it is.
    #[error("{0}")]
    Unreadable(String),
    /// A newer operator made the Release.
    #[error(transparent)]
    Renderer(#[from] UnknownRenderer),
}

impl Error {
    pub(super) fn read(what: &'static str, source: kube::Error) -> Self {
        Self::Read {
            what,
            source: Box::new(source),
        }
    }

    /// Whether the API server processed the request and refused it: the object is invalid, or a quota or an admission
    /// rule forbids it.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Apply(ApplyError::Api { source, .. })
            if matches!(&**source, kube::Error::Api(status) if matches!(status.code, 403 | 422)))
    }

    /// Whether the API server, or an admission webhook that it calls, is out of order.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Apply(ApplyError::Api { source, .. })
            if matches!(&**source, kube::Error::Api(status) if (500..600).contains(&status.code)))
    }

    /// Whether the user has to know; all other errors pass in a moment.
    pub(super) fn is_told(&self) -> bool {
        self.is_refusal() || self.is_fault() || self.class() == Class::Stalled
    }

    /// The API server's reason, without what it adds for programs: the first line.
    pub(super) fn refusal(&self) -> Option<&str> {
        match self {
            Self::Apply(ApplyError::Api { source, .. }) => match &**source {
                kube::Error::Api(status) => status.message.lines().next(),
                _ => None,
            },
            _ => None,
        }
    }

    /// The message for a status.
    pub(super) fn said(&self) -> String {
        match (self, self.refusal()) {
            (Self::Apply(ApplyError::Api { kind, name, .. }), Some(why)) => {
                format!("cannot write {kind} {name}: {why}")
            }
            _ => self.to_string(),
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Apply(ApplyError::NameTaken(_)) => Reason::NameTaken,
            Self::Going { .. } => Reason::Waiting,
            Self::Renderer(_) | Self::Claim { .. } => Reason::InvalidSpec,
            Self::Unreadable(_) => Reason::RecordUnreadable,
            Self::Apply(_) | Self::Read { .. } | Self::Delete { .. } => match self.class() {
                Class::Stalled => Reason::InvalidSpec,
                Class::Waiting { .. } | Class::Transient => Reason::TemporaryFailure,
            },
        }
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Read { source, .. } | Self::Delete { source, .. } => classify::class(source),
            Self::Apply(error) => error.class(),
            Self::Going { .. } => Class::Waiting {
                after: Duration::from_secs(2),
            },
            Self::Renderer(_) | Self::Claim { .. } | Self::Unreadable(_) => Class::Stalled,
        }
    }
}
