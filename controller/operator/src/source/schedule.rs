//! When a branch is looked up next. Pure: the same App and time give the same answer.
//!
//! Look-ups are spread: their interval varies by a tenth, and after a start of the operator they are spread over one
//! whole interval, so that a thousand Apps do not ask their git server at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// A number between 0 and 1 that depends only on the arguments.
fn spread(uid: &str, at: Timestamp) -> f64 {
    let digest = Sha256::digest(format!("{uid} {}", at.as_second()));
    let part = digest
        .iter()
        .take(4)
        .fold(0_u32, |n, byte| (n << 8) | u32::from(*byte));
    f64::from(part) / f64::from(u32::MAX)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The next look-up after the one at `last`.
pub fn after(uid: &str, last: Timestamp, interval: Duration) -> Timestamp {
    later(last, interval.mul_f64(0.9 + 0.2 * spread(uid, last)))
}

/// The first look-up after a start of the operator, for an App that has a Revision.
pub fn after_start(uid: &str, started: Timestamp, interval: Duration) -> Timestamp {
    later(started, interval.mul_f64(spread(uid, started)))
}

/// How long it is until `next`; zero if it has passed.
pub fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::{after, after_start, until};
    use jiff::Timestamp;
    use std::time::Duration;

    const INTERVAL: Duration = Duration::from_mins(1);

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    #[test]
    fn look_ups_keep_to_the_interval_within_a_tenth() {
        for i in 0..100 {
            let wait = until(after(&format!("u{i}"), now(), INTERVAL), now()).as_secs_f64();
            assert!((54.0..=66.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn after_a_start_they_are_spread_over_the_interval() {
        let mut waits: Vec<u64> = (0..100)
            .map(|i| until(after_start(&format!("u{i}"), now(), INTERVAL), now()).as_secs())
            .collect();
        waits.sort_unstable();
        assert!(waits[0] < 6 && waits[99] > 54, "{waits:?}");
        for decile in waits.chunks(25) {
            assert!(decile[24] - decile[0] > 5, "bunched: {waits:?}");
        }
    }

    #[test]
    fn the_past_is_now() {
        let past = now()
            .checked_sub(jiff::SignedDuration::from_secs(5))
            .unwrap();
        assert_eq!(until(past, now()), Duration::ZERO);
    }
}
