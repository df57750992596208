//! Why the export zone fails, and the exit code that tells the operator whether another try may help.

use crate::{archive::WriteError, disk};
use slipway_base::zone::report::exit;
use slipway_remotes::registry::RegistryError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The volume cannot be put into layers.
    #[error("cannot make the image's layers: {0}")]
    Layers(#[from] WriteError),
    /// The build zone's result is not valid.
    #[error("the build's result cannot be used: {0}")]
    Result(String),
    /// The run image cannot be used.
    #[error("the Stack's run image {image} cannot be used: {message}")]
    RunImage {
        /// Repository and digest.
        image: String,
        /// Why not.
        message: String,
    },
    /// One of the operator's own files cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The path.
        path: String,
        /// The error.
        error: std::io::Error,
    },
    /// The disk is nearly full.
    #[error(transparent)]
    Disk(#[from] disk::NearlyFull),
    /// A task panicked or was cancelled.
    #[error("a part of export ended in an unexpected way: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ExportError {
    /// The zone's exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Registry(error) if error.may_pass() => exit::INTERRUPTED,
            // Other builds took the space and may give it back.
            Self::Disk(_) => exit::INTERRUPTED,
            _ => exit::EXPORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExportError;
    use slipway_base::zone::report::exit;
    use slipway_remotes::registry::RegistryError;

    #[test]
    fn a_registry_that_is_away_or_refuses_us_is_no_fault_of_the_build() {
        let registry = || "r:5000".to_owned();
        let away = RegistryError::Unreachable {
            registry: registry(),
            message: "no answer".into(),
        };
        let refuses = RegistryError::Unauthorised {
            registry: registry(),
            repository: "a".into(),
            action: "write",
            said: String::new(),
        };
        let other = RegistryError::Tls {
            registry: registry(),
            message: "certificate".into(),
        };
        let lost = RegistryError::Vanished {
            registry: registry(),
            repository: "a".into(),
            what: "sha256:1".into(),
        };
        for error in [away, refuses, other, lost] {
            assert_eq!(ExportError::Registry(error).code(), exit::INTERRUPTED);
        }
        let gone = RegistryError::NotFound {
            registry: registry(),
            what: "the run image".into(),
        };
        let wrong = ExportError::Result("it is no report".into());
        for error in [ExportError::Registry(gone), wrong] {
            assert_eq!(error.code(), exit::EXPORT);
        }
    }
}
