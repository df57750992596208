//! What was found to be wrong.

use slipway_crds::conditions::Reason;

/// Longest part of a message that somebody else wrote.
const QUOTED: usize = 400;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The reason in conditions.
    pub reason: Reason,
    /// What happened, to what, and what to do.
    pub message: String,
    /// The process.
    pub process: Option<String>,
    /// The container whose log may tell more.
    pub container: Option<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The pod.
    pub pod: String,
    /// The container.
    pub name: String,
    /// Whether the log of its previous run is meant, and not that of the present one.
    pub previous: bool,
}

/// What was found about one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Trouble that does not pass by itself.
    pub certain: Option<Trouble>,
    /// Trouble that may pass; reported when the time is over.
    pub likely: Option<Trouble>,
}

impl Found {
    pub(super) fn certainly(trouble: Trouble) -> Self {
        Self {
            likely: Some(trouble.clone()),
            certain: Some(trouble),
        }
    }

    pub(super) fn perhaps(trouble: Trouble) -> Self {
        Self {
            likely: Some(trouble),
            certain: None,
        }
    }

    pub(super) fn certainly_if(certain: bool, trouble: Trouble) -> Self {
        if certain {
            Self::certainly(trouble)
        } else {
            Self::perhaps(trouble)
        }
    }
}

/// One line of somebody else's text, not too long.
pub(super) fn quoted(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    slipway_base::text::bounded(line, QUOTED)
}
