//! Why an app.json cannot be read, and where.

/// Why an app.json cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppJsonError {
    /// It is no JSON.
    #[error("app.json, line {line}, column {column}: {what}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value has the wrong type or is out of range.
    #[error("app.json, {path}: {what}")]
    Field {
        /// Its path, for example `healthchecks.web[0].attempts`.
        path: String,
        /// What is wrong there.
        what: String,
    },
}

/// The value at `path` is wrong.
pub(super) fn field(path: impl Into<String>, what: impl Into<String>) -> AppJsonError {
    AppJsonError::Field {
        path: path.into(),
        what: what.into(),
    }
}
