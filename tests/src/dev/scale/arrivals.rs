//! When each of many objects was made, first had a status, and was as wanted, according to a watch.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

/// What the watch has shown of all objects.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    all: BTreeMap<String, Seen>,
    there: usize,
}

#[derive(Debug)]
struct Seen {
    made: Instant,
    status: Option<Instant>,
    there: Option<Instant>,
}

impl Arrivals {
    /// Records what the watch showed of one object.
    pub(super) fn see(
        &mut self,
        name: &str,
        status: Option<&Value>,
        wanted: fn(&Value) -> bool,
        now: Instant,
    ) {
        let seen = self.all.entry(name.to_owned()).or_insert(Seen {
            made: now,
            status: None,
            there: None,
        });
        let Some(status) = status else { return };
        seen.status.get_or_insert(now);
        if seen.there.is_none() && wanted(status) {
            seen.there = Some(now);
            self.there += 1;
        }
    }

    /// How many were made.
    pub(super) fn made(&self) -> usize {
        self.all.len()
    }

    /// How many were as wanted.
    pub(super) fn there(&self) -> usize {
        self.there
    }

    /// When the last one was as wanted.
    pub(super) fn last(&self) -> Option<Instant> {
        self.all.values().filter_map(|seen| seen.there).max()
    }

    /// Seconds from being made to the first status: median and maximum.
    pub(super) fn first_status(&self) -> (f64, f64) {
        let waits = self.all.values().filter_map(|s| Some(s.status? - s.made));
        let mut waits: Vec<f64> = waits.map(|wait| wait.as_secs_f64()).collect();
        waits.sort_by(f64::total_cmp);
        let at = |index: usize| waits.get(index).copied().unwrap_or(f64::NAN);
        (at(waits.len() / 2), at(waits.len().wrapping_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::Arrivals;
    use crate::dev::scale::watch::ready;

    #[test]
    fn the_first_status_counts_and_the_wanted_one_ends_it() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let not_yet = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        let serves = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let mut arrivals = Arrivals::default();
        for name in ["a", "b", "c"] {
            arrivals.see(name, None, ready, begin);
        }
        arrivals.see("a", Some(&not_yet), ready, after(1));
        arrivals.see("a", Some(&serves), ready, after(4));
        arrivals.see("b", Some(&not_yet), ready, after(2));
        arrivals.see("c", Some(&serves), ready, after(6));
        assert_eq!((arrivals.there(), arrivals.last()), (2, Some(after(6))));
        assert_eq!(arrivals.first_status(), (2.0, 6.0));
    }
}
