//! Leader election: one replica holds a Lease while its work goes on.
//!
//! ```text
//! wait ──free, or expired──▶ lead ──work ends──▶ release
//!                             └──not renewed in time, or taken──▶ lost: the work is dropped at once
//! ```
//!
//! Clocks of other machines are not trusted: a Lease has expired when *this* replica has seen it unchanged for the
//! duration that its holder asked for. The deadline for renewing is shorter, so a leader that cannot reach the API
//! server has stopped before another one begins.

mod step;

use std::time::Duration;

use futures::future::{Either, select};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::{FieldManager, classify};
use slipway_telemetry::meters::LeadershipMeters;
use step::{Step, step};

/// The times of a Lease.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// After so long without renewal, others may take it. Whole seconds.
    pub duration: Duration,
    /// After so long without renewal, the holder stops its work.
    pub deadline: Duration,
    /// Delay between two tries.
    pub retry: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// How leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The work ended, and the Lease was released.
    Finished,
    /// Asked to stop before it ever led.
    NeverLed,
    /// Somebody else may lead by now; the work was dropped.
    Lost,
}

/// A candidate.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    clock: Clock,
    meters: LeadershipMeters,
}

/// The Lease as it was last seen, and since when it is unchanged.
#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    since: Instant,
}

impl Candidate {
    /// `identity` is unique among the replicas.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        terms: Terms,
        clock: Clock,
        meters: LeadershipMeters,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            terms,
            clock,
            meters,
        }
    }

    /// Waits for the Lease, then does the work while the Lease is held. `work` has to end by itself after `stop`; it is
    /// dropped when the Lease is lost.
    pub async fn lead<F: Future<Output = ()>>(
        &self,
        stop: &CancellationToken,
        work: impl FnOnce() -> F,
    ) -> End {
        self.meters.set(&self.name, false);
        let Some((lease, since)) = stop.run_until_cancelled(self.acquire()).await else {
            return End::NeverLed;
        };
        tracing::info!(lease = self.name, identity = self.identity, "leading");
        self.meters.set(&self.name, true);
        let held = tokio::sync::Mutex::new(lease);
        let ended = {
            let work = std::pin::pin!(work());
            let renewing = std::pin::pin!(self.renew(&held, since));
            match select(work, renewing).await {
                Either::Left(((), _)) => End::Finished,
                Either::Right((why, _)) => {
                    tracing::error!(lease = self.name, why, "the lease is lost; all work stops");
                    End::Lost
                }
            }
        };
        self.meters.set(&self.name, false);
        if ended == End::Finished {
            self.release(held.into_inner()).await;
        }
        ended
    }

    /// The Lease, and when this replica asked for it. The others count from the write, which is no earlier.
    async fn acquire(&self) -> (Lease, Instant) {
        let mut seen: Option<Seen> = None;
        loop {
            let began = Instant::now();
            // Half of the deadline: the other half is left for the first renewal.
            match timeout(self.terms.deadline / 2, self.try_acquire(&mut seen)).await {
                Ok(Ok(Some(lease))) => return (lease, began),
                Ok(Ok(None)) => {}
                Ok(Err(error)) if classify::is_conflict(&error) => {
                    tracing::debug!(lease = self.name, "another replica was faster");
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot reach the lease");
                }
                Err(_) => tracing::warn!(lease = self.name, "no answer about the lease"),
            }
            sleep(self.terms.retry).await;
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, kube::Error> {
        let Some(live) = classify::found(self.api.get(&self.name).await)? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(&LeaseSpec::default())),
            };
            return self.api.create(&params(), &lease).await.map(Some);
        };
        let since = match seen {
            Some(before)
                if before.lease.metadata.resource_version == live.metadata.resource_version =>
            {
                before.since
            }
            _ => {
                let since = Instant::now();
                *seen = Some(Seen {
                    lease: live.clone(),
                    since,
                });
                since
            }
        };
        let spec = live.spec.clone().unwrap_or_default();
        match step(&spec, &self.identity, since.elapsed(), self.terms.duration) {
            Step::Wait => Ok(None),
            Step::Take | Step::Renew => self.write(&live, self.spec(&spec)).await.map(Some),
        }
    }

    /// Renews the Lease until it is lost. Returns the reason.
    async fn renew(&self, held: &tokio::sync::Mutex<Lease>, acquired: Instant) -> String {
        let mut renewed = acquired;
        loop {
            sleep(self.terms.retry).await;
            let left = self.terms.deadline.saturating_sub(renewed.elapsed());
            let mut lease = held.lock().await;
            let began = Instant::now();
            match timeout(left, self.try_renew(&mut lease)).await {
                Ok(Ok(None)) => renewed = began,
                Ok(Ok(Some(holder))) => return format!("{holder} holds it"),
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "cannot renew the lease");
                }
                Err(_) => tracing::warn!(lease = self.name, "no answer about the lease"),
            }
            if renewed.elapsed() >= self.terms.deadline {
                return format!("it could not be renewed for {:?}", self.terms.deadline);
            }
        }
    }

    /// Returns the holder, if this replica no longer holds the Lease.
    async fn try_renew(&self, lease: &mut Lease) -> Result<Option<String>, kube::Error> {
        let spec = self.spec(&lease.spec.clone().unwrap_or_default());
        let error = match self.write(lease, spec).await {
            Ok(written) => {
                *lease = written;
                return Ok(None);
            }
            Err(error) => error,
        };
        if !classify::is_conflict(&error) && !classify::is_not_found(&error) {
            return Err(error);
        }
        // Somebody wrote or deleted the Lease: read it to learn who holds it.
        let live = self.api.get(&self.name).await?;
        let holder = live.spec.as_ref().and_then(|s| s.holder_identity.clone());
        match holder {
            Some(holder) if holder == self.identity => {
                *lease = live;
                Err(error)
            }
            other => Ok(Some(other.unwrap_or_else(|| "nobody".to_owned()))),
        }
    }

    async fn release(&self, lease: Lease) {
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..self.spec(&lease.spec.clone().unwrap_or_default())
        };
        match timeout(self.terms.retry, self.write(&lease, spec)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "released"),
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, %error, "cannot release the lease; it expires by itself");
            }
            Err(_) => tracing::warn!(
                lease = self.name,
                "cannot release the lease in time; it expires by itself"
            ),
        }
    }

    /// Replaces exactly the version that was read: of two writers, one gets a conflict.
    async fn write(&self, live: &Lease, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let lease = Lease {
            metadata: live.metadata.clone(),
            spec: Some(spec),
        };
        self.api.replace(&self.name, &params(), &lease).await
    }

    fn spec(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime((self.clock)());
        let mine = before.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.terms.duration.as_secs()).ok(),
            acquire_time: if mine {
                before.acquire_time.clone()
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!mine))),
            ..LeaseSpec::default()
        }
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(FieldManager::Operator.as_str().to_owned()),
        ..PostParams::default()
    }
}

#[cfg(test)]
#[expect(clippy::large_futures, reason = "they live on a test's own stack")]
mod tests;
