//! Why the fetch zone fails, and the exit code that tells the operator whether another try may help.

use crate::fetch::git;
use crate::{archive::ArchiveError, disk, source::SourceError};
use slipway_base::zone::report::exit;
use slipway_core::domain::pack_choice;
use slipway_remotes::{registry::RegistryError, web::WebError};

/// Why the fetch zone failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The git server, or what it sent, cannot be used.
    #[error(transparent)]
    Git(#[from] git::GitError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The certificates in `builds.ca` cannot be read.
    #[error("builds.ca: {0}")]
    Web(#[from] WebError),
    /// A download cannot be unpacked.
    #[error("{what}: {error}")]
    Archive {
        /// The download.
        what: String,
        /// What is wrong with it.
        error: ArchiveError,
    },
    /// The source cannot be stored, or not be unpacked from where it is stored.
    #[error(transparent)]
    Stored(#[from] SourceError),
    /// The list of buildpacks is not valid.
    #[error(transparent)]
    Choice(#[from] pack_choice::ChoiceError),
    /// The source is not valid.
    #[error("{0}")]
    Source(String),
    /// A buildpack cannot be fetched.
    #[error("buildpack {name}: {message}")]
    Pack {
        /// Its name.
        name: String,
        /// Why not.
        message: String,
        /// Whether another try may help.
        may_pass: bool,
    },
    /// The volume cannot be written.
    #[error("cannot write {path}: {error}")]
    Volume {
        /// The path.
        path: String,
        /// The error.
        error: std::io::Error,
    },
    /// The disk is nearly full.
    #[error(transparent)]
    Disk(#[from] disk::NearlyFull),
    /// A task panicked or was cancelled.
    #[error("a part of fetch ended in an unexpected way: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl FetchError {
    /// The zone's exit code.
    pub(super) fn code(&self) -> u8 {
        let may_pass = match self {
            Self::Git(error) => error.may_pass(),
            Self::Registry(error) | Self::Stored(SourceError::Registry(error)) => error.may_pass(),
            Self::Pack { may_pass, .. } => *may_pass,
            // Other builds took the space and may give it back.
            Self::Disk(_) => true,
            Self::Archive { .. }
            | Self::Web(_)
            | Self::Stored(_)
            | Self::Choice(_)
            | Self::Source(_)
            | Self::Volume { .. }
            | Self::Task(_) => false,
        };
        if may_pass {
            exit::INTERRUPTED
        } else {
            exit::FETCH
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FetchError;
    use crate::fetch::git::GitError;
    use slipway_base::zone::report::exit;

    #[test]
    fn what_may_pass_by_itself_is_no_fault_of_the_build() {
        let pack = |may_pass| FetchError::Pack {
            name: "p".into(),
            message: "m".into(),
            may_pass,
        };
        let slow = GitError::TooSlow {
            url: "https://h/x.git".into(),
            seconds: 300,
        };
        for error in [FetchError::Git(slow), pack(true)] {
            assert_eq!(error.code(), exit::INTERRUPTED, "{error}");
        }
        let gone = GitError::NoRepository {
            url: "https://h/x.git".into(),
        };
        for error in [FetchError::Git(gone), pack(false)] {
            assert_eq!(error.code(), exit::FETCH, "{error}");
        }
    }
}
