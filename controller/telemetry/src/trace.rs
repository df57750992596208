//! Writes spans and events as lines to standard error, for people or for programs.

use std::{
    io::{self, IsTerminal as _},
    str::FromStr,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The format of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The filter is not valid.
    #[error("{filter:?} is not a log level or filter such as info or slipway=debug,info: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// Why it is not valid.
        reason: String,
    },
    /// Logging was set up before.
    #[error("logging is set up twice")]
    Twice,
}

/// Sends everything that `filter` allows to standard error. Works once in a process.
pub fn install(format: Format, filter: &str) -> Result<(), TraceError> {
    let filter = EnvFilter::from_str(filter).map_err(|error| TraceError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let installed = match format {
        Format::Human => registry
            .with(
                fmt::layer()
                    .with_ansi(io::stderr().is_terminal())
                    .with_writer(io::stderr)
                    .with_target(false),
            )
            .try_init(),
        Format::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(io::stderr),
            )
            .try_init(),
    };
    installed.map_err(|_| TraceError::Twice)
}
