//! An operator's requests and CPU time, moment by moment → since when it has been calm. Pure.

use std::time::{Duration, Instant};

/// How long it has to be calm to count as steady, and how many requests and CPU seconds this time may have.
const CALM: Duration = Duration::from_secs(10);
const CALM_REQUESTS: u64 = 5;
const CALM_CPU: f64 = 0.5;

/// The sums at a moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) requests: u64,
    pub(super) cpu: f64,
}

/// The beginning of the calm until the last moment, if it is long enough.
pub(super) fn calm_since(moments: &[Moment]) -> Option<Instant> {
    let last = moments.last()?;
    let begin = last.at.checked_sub(CALM)?;
    let first = moments.iter().rev().find(|moment| moment.at <= begin)?;
    let calm = last.requests - first.requests <= CALM_REQUESTS && last.cpu - first.cpu <= CALM_CPU;
    calm.then_some(first.at)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Moment, calm_since};

    #[test]
    fn it_is_steady_when_ten_seconds_have_been_calm() {
        let begin = Instant::now();
        let moment = |seconds: u64, requests: u64, cpu: f64| Moment {
            at: begin + Duration::from_secs(seconds),
            requests,
            cpu,
        };
        let mut moments = vec![moment(0, 0, 0.0), moment(3, 90, 2.0), moment(9, 91, 2.1)];
        assert_eq!(calm_since(&moments), None, "too short");
        moments.push(moment(12, 91, 2.1));
        assert_eq!(calm_since(&moments), None, "busy at its beginning");
        moments.push(moment(13, 92, 2.2));
        assert_eq!(calm_since(&moments), Some(begin + Duration::from_secs(3)));
        moments.push(moment(14, 92, 3.2));
        assert_eq!(calm_since(&moments), None, "it computes");
    }
}
