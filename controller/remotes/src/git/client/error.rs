//! Why a git server's refs cannot be had: what client, server and network say → one error.

use reqwest::StatusCode;

use crate::{
    git::{Trouble, packet::PacketError, trouble},
    resolve::ResolveError,
    web::ServerError,
};
use slipway_base::{error::chain, text};

/// Longest message of a server that is shown.
const SAID: usize = 300;

/// Why a server did not list its refs.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server asks for credentials, or refuses those that it got.
    #[error("the server refused access")]
    Denied,
    /// The server has no such repository.
    #[error("the server knows no such repository")]
    NoRepository,
    /// The server asks for credentials over a connection that others can read.
    #[error(
        "credentials are not sent over plain http: use https://, or have an administrator name the server in outside.allow of the chart's values"
    )]
    Readable,
    /// The server's address is refused.
    #[error("{0}")]
    Refused(String),
    /// The server cannot be reached, or closed the connection.
    #[error("{0}")]
    Away(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<PacketError> for ClientError {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Broken(_) | PacketError::Ended => Self::Away(chain(&error)),
            PacketError::Malformed | PacketError::TooMuch(_) => Self::Other(error.to_string()),
        }
    }
}

impl From<ResolveError> for ClientError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Refused(refused) => Self::Refused(refused.to_string()),
            ResolveError::Unknown { .. } => Self::Away(error.to_string()),
        }
    }
}

impl From<ServerError> for ClientError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Resolve(error) => error.into(),
            ServerError::Client(message) => Self::Other(message),
        }
    }
}

pub(super) fn away(error: &reqwest::Error) -> ClientError {
    let what = if error.is_connect() {
        "cannot connect"
    } else {
        "the server broke off"
    };
    let mut words = what.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        source = cause.source();
        if source.is_none() {
            words = format!("{what}: {cause}");
        }
    }
    ClientError::Away(words)
}

/// The error for an HTTP status.
pub(super) fn refusal(status: StatusCode) -> ClientError {
    match status.as_u16() {
        401 | 403 => ClientError::Denied,
        404 | 410 => ClientError::NoRepository,
        429 | 500.. => ClientError::Away(format!("the server answered {status}")),
        _ => ClientError::Other(format!("the server answered {status}")),
    }
}

/// The error for a server's error message.
pub(super) fn said_no(said: &str) -> ClientError {
    let shown = format!("the server said: {}", text::line(said.trim(), SAID));
    match trouble(said) {
        Trouble::Denied => ClientError::Denied,
        Trouble::NoRepository => ClientError::NoRepository,
        Trouble::Away => ClientError::Away(shown),
        Trouble::Other => ClientError::Other(shown),
    }
}
