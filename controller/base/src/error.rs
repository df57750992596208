//! Error classes: what becomes of a reconcile that did not end well. Pure.

use std::time::Duration;

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Somebody has to change something. That is watched; in case it is nothing that we watch, a look an hour.
    Stalled,
    /// Not an error: the next step is known, and when.
    Waiting {
        /// When to look again; a watch usually comes first.
        after: Duration,
    },
    /// May pass by itself: tried again, each time later.
    Transient,
}

/// An error that knows its class.
pub trait Classify: std::error::Error {
    /// Exhaustive over the error's variants.
    fn class(&self) -> Class;
}

/// First and longest delay of retries.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// What is stalled is looked at again, whoever has corrected it: a StorageClass, say, is nothing that we watch.
const STALLED: Duration = Duration::from_hours(1);

/// When to try again. `failures` counts those in a row before this one, `jitter` is between 0 and 1.
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

/// An error with its sources. Some errors repeat their source in their own words: those are said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    chain_by(error, &|_| None)
}

/// As [`chain`], where `whole` has better words for some errors than their `Display`. The sources of such an error are
/// in its words already.
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
