//! Reads the audit log and the operator's processes twice a second, and adds up what they show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use slipway_cluster::facts::Facts;

use crate::dev::scale::{
    calm::{Moment, calm_since},
    follow::Follower,
    processes::{self, Usage},
    requests::Requests,
};

const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Meter<'a> {
    facts: &'a Facts,
    state: Mutex<State>,
}

/// Sums since the meter was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) requests: Requests,
    /// CPU seconds of the operator's processes.
    pub(super) cpu: f64,
    /// Bytes into and out of its pods.
    pub(super) wire: f64,
    /// CPU seconds of the API server.
    pub(super) api_server_cpu: f64,
}

struct State {
    follower: Follower,
    now: Reading,
    pods: BTreeMap<String, Usage>,
    /// Highest anonymous memory of all processes together, in MB.
    peak: f64,
    moments: Vec<Moment>,
    /// Pods whose memory no longer counts.
    ending: BTreeSet<String>,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub(super) fn new(facts: &'a Facts) -> Result<Self> {
        let state = State {
            follower: Follower::new(&facts.audit_log)?,
            now: Reading::default(),
            pods: processes::of_operator(facts)?,
            peak: 0.0,
            moments: Vec::new(),
            ending: BTreeSet::new(),
        };
        let state = Mutex::new(state);
        Ok(Self { facts, state })
    }

    /// Reads for ever. Returns only an error that prevents it.
    pub(super) async fn tend(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.look() {
                return error;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) fn look(&self) -> Result<()> {
        let mut state = self.state();
        let State { follower, now, .. } = &mut *state;
        follower.read(|line| {
            now.requests.take(line);
        })?;
        state.now.api_server_cpu = processes::of_api_server()?;
        let pods = processes::of_operator(self.facts)?;
        let counting = pods.iter().filter(|(uid, _)| !state.ending.contains(*uid));
        let anonymous: f64 = counting.map(|(_, usage)| usage.anonymous).sum();
        state.peak = state.peak.max(anonymous);
        for (uid, usage) in pods {
            let before = state.pods.insert(uid, usage).unwrap_or_default();
            state.now.cpu += grown(before.cpu, usage.cpu);
            state.now.wire += grown(before.wire, usage.wire);
        }
        let moment = Moment {
            at: Instant::now(),
            requests: state.now.requests.total(),
            cpu: state.now.cpu,
        };
        state.moments.push(moment);
        Ok(())
    }

    /// Reads once more. Returns the sums until now.
    pub(super) fn read(&self) -> Result<Reading> {
        self.look()?;
        Ok(self.state().now.clone())
    }

    /// Highest memory since the last call.
    pub(super) fn peak(&self) -> f64 {
        std::mem::take(&mut self.state().peak)
    }

    /// From now on only the memory of new pods counts, not of those that exist now.
    pub(super) fn count_successors(&self) {
        let mut state = self.state();
        state.ending = state.pods.keys().cloned().collect();
        state.peak = 0.0;
    }

    /// Waits until the operator has nothing more to do. Returns since when; `None` if that does not happen in time.
    pub(super) async fn steady(&self, since: Instant, limit: Duration) -> Option<Instant> {
        while since.elapsed() < limit {
            let calm = calm_since(&self.state().moments);
            if let Some(begin) = calm.filter(|begin| *begin >= since) {
                return Some(begin);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// The difference from `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.since(&before.requests),
            cpu: self.cpu - before.cpu,
            wire: self.wire - before.wire,
            api_server_cpu: self.api_server_cpu - before.api_server_cpu,
        }
    }
}

/// How much a counter has grown. A restarted process counts from zero.
fn grown(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

#[cfg(test)]
mod tests {
    use super::grown;

    #[test]
    fn a_new_process_counts_from_zero() {
        assert!((grown(5.0, 7.0) - 2.0).abs() < 1e-9);
        assert!((grown(5.0, 1.0) - 1.0).abs() < 1e-9);
    }
}
