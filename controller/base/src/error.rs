//! Error classes: when a failed reconcile is tried again. Pure.

use std::time::Duration;

/// What a controller does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody has to change something. The operator usually sees the change by a watch. It also reconciles once an
    /// hour, in case it does not watch that object.
    Stalled,
    /// Not an error: the next step is known, and its time.
    Waiting {
        /// When to reconcile again; usually a watch triggers it earlier.
        after: Duration,
    },
    /// May pass without a change: tried again, after growing delays.
    Transient,
}

/// An error that knows its class.
pub trait Classify: std::error::Error {
    /// The class; implementations match every variant.
    fn class(&self) -> Class;
}

/// First and longest delay before a retry of a transient error.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// A stalled object is reconciled again after this time, because the correction may be in an object that the operator
/// does not watch, such as a StorageClass.
const STALLED: Duration = Duration::from_hours(1);

/// When to try again. `failures` counts the failures in a row before this one; `jitter` is between 0 and 1.
pub fn retry_after(class: Class, failures: u32, jitter: f64) -> Duration {
    let spread = |delay: Duration| delay.mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0));
    match class {
        Class::Stalled => spread(STALLED),
        Class::Waiting { after } => after,
        Class::Transient => spread(
            FIRST
                .saturating_mul(2_u32.saturating_pow(failures.min(16)))
                .min(LONGEST),
        ),
    }
}

/// The message of an error and of its sources. A source whose message is in the text already is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    chain_by(error, &|_| None)
}

/// As [`chain`], but `whole` may give a better message for a source than its `Display`. Such a message covers the
/// sources below it, which are left out.
pub fn chain_by(
    error: &(dyn std::error::Error + 'static),
    whole: &dyn Fn(&(dyn std::error::Error + 'static)) -> Option<String>,
) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = whole(source);
        next = source.source().filter(|_| words.is_none());
        let said = words.unwrap_or_else(|| source.to_string());
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Class, chain, retry_after};
    use std::time::Duration;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Said {
        words: &'static str,
        source: Option<Box<Said>>,
    }

    fn said(words: &'static str, source: Option<Said>) -> Said {
        Said {
            words,
            source: source.map(Box::new),
        }
    }

    #[test]
    fn what_an_error_repeats_is_said_once() {
        let refused = said(
            "cannot connect: refused",
            Some(said("refused", Some(said("port 1", None)))),
        );
        assert_eq!(chain(&refused), "cannot connect: refused: port 1");
    }

    #[test]
    fn a_stalled_object_is_left_alone_for_an_hour() {
        let after = retry_after(Class::Stalled, 3, 0.5);
        assert_eq!(after, Duration::from_hours(1));
    }

    #[test]
    fn transient_errors_back_off_up_to_a_bound() {
        let secs = |failures| retry_after(Class::Transient, failures, 0.5).as_secs();
        assert_eq!([secs(0), secs(1), secs(4), secs(40)], [1, 2, 16, 300]);
    }

    #[test]
    fn jitter_spreads_by_a_quarter() {
        let at = |jitter| retry_after(Class::Transient, 2, jitter);
        assert_eq!(
            (at(0.0), at(1.0)),
            (Duration::from_secs(3), Duration::from_secs(5))
        );
    }
}
