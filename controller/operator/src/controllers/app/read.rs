//! Why something of an App could not be read.

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the App's {what}")]
pub struct ReadError {
    /// What.
    pub what: &'static str,
    /// Why.
    pub source: Box<kube::Error>,
}

/// Makes the error that this could not be read.
pub(super) fn reading(what: &'static str) -> impl FnOnce(kube::Error) -> ReadError {
    move |source| ReadError {
        what,
        source: Box::new(source),
    }
}
