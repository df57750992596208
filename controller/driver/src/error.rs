//! What a driver says when it could not do what it was asked.

/// Why a driver could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The engine does not answer. This may pass.
    #[error("cannot reach the build engine at {address}")]
    Unreachable {
        /// Its address.
        address: String,
        /// The underlying error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine has an error of its own, or something that it needs does not answer. This may pass.
    #[error("the build engine could not {action}: {message}")]
    Troubled {
        /// What the engine was asked to do.
        action: String,
        /// The engine's message.
        message: String,
    },
    /// The engine refused. Asking again gives the same answer.
    #[error("the build engine refused to {action}: {message}")]
    Refused {
        /// What the engine was asked to do.
        action: String,
        /// The engine's message.
        message: String,
    },
}
