//! Candidates for one Lease, against an API server of the tests.

use crate::lease::{
    Candidate, End, Terms,
    step::{Step, step},
};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use slipway_support::fake_api::Fake;
use slipway_telemetry::meters::Meters;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[test]
fn a_lease_is_taken_when_free_or_seen_unchanged_for_its_whole_time() {
    let held = |holder: Option<&str>| LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(15),
        ..LeaseSpec::default()
    };
    let ours = Duration::from_secs(30);
    for (holder, seconds, wanted) in [
        (None, 0, Step::Take),
        (Some(""), 0, Step::Take),
        (Some("me"), 0, Step::Renew),
        (Some("other"), 14, Step::Wait),
        (Some("other"), 15, Step::Take),
    ] {
        let seen = Duration::from_secs(seconds);
        assert_eq!(
            step(&held(holder), "me", seen, ours),
            wanted,
            "{holder:?} {seconds}"
        );
    }
}

const TERMS: Terms = Terms {
    duration: Duration::from_secs(1),
    deadline: Duration::from_millis(600),
    retry: Duration::from_millis(50),
};

fn candidate(fake: &Fake, identity: &str) -> Candidate {
    Candidate::new(
        fake.client(),
        "n",
        "slipway",
        identity.to_owned(),
        TERMS,
        Arc::new(|| jiff::Timestamp::UNIX_EPOCH),
        Meters::new("").leadership,
    )
}

/// Notes whether two work at the same time. The guard is dropped together with the work.
#[derive(Clone, Default)]
struct Work {
    now: Arc<AtomicU32>,
    both: Arc<AtomicBool>,
}

struct Working(Arc<AtomicU32>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Work {
    async fn go(self, until: CancellationToken, begun: CancellationToken) {
        let before = self.now.fetch_add(1, Ordering::SeqCst);
        self.both.fetch_or(before > 0, Ordering::SeqCst);
        let _working = Working(Arc::clone(&self.now));
        begun.cancel();
        until.cancelled().await;
    }
}

async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), Box::pin(what))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_the_next_one_begins() {
    let (store, work) = (Fake::default(), Work::default());
    let cut = Fake::sharing(&store);
    let stop = CancellationToken::new();
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (a, b) = (candidate(&cut, "a"), candidate(&store, "b"));
    let lead_a = a.lead(&stop, || work.clone().go(stop.clone(), first.clone()));
    let takeover = async {
        first.cancelled().await;
        let lead_b = b.lead(&stop, || work.clone().go(stop.clone(), second.clone()));
        let end = async {
            cut.cut();
            second.cancelled().await;
            stop.cancel();
        };
        futures::join!(lead_b, end).0
    };
    let (end_a, end_b) = soon(async { futures::join!(lead_a, takeover) }).await;
    assert_eq!((end_a, end_b), (End::Lost, End::Finished));
    assert!(!work.both.load(Ordering::SeqCst), "both led at once");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_answer_took_counts_against_the_leader() {
    let slow = Fake::default();
    slow.answer_after(Duration::from_millis(140));
    let began = Instant::now();
    let stop = CancellationToken::new();
    let end = candidate(&slow, "a")
        .lead(&stop, || async {
            slow.cut();
            std::future::pending::<()>().await;
        })
        .await;
    assert_eq!(end, End::Lost);
    let led = began.elapsed();
    assert!(led <= TERMS.deadline + TERMS.retry, "{led:?}");
}

#[tokio::test]
async fn a_lease_that_is_released_is_free_at_once() {
    let (store, work) = (Fake::default(), Work::default());
    for identity in ["a", "b"] {
        let (stop, begun) = (CancellationToken::new(), CancellationToken::new());
        let candidate = candidate(&store, identity);
        let lead = candidate.lead(&stop, || work.clone().go(stop.clone(), begun.clone()));
        let end = async {
            begun.cancelled().await;
            stop.cancel();
        };
        // Well within the second after which an unreleased lease would expire.
        let (end, ()) = tokio::time::timeout(Duration::from_millis(900), async {
            futures::join!(lead, end)
        })
        .await
        .unwrap();
        assert_eq!(end, End::Finished);
    }
    let lease = store.object("leases/slipway").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "");
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

#[tokio::test]
async fn a_candidate_that_is_stopped_never_leads() {
    let stop = CancellationToken::new();
    let fake = Fake::default();
    fake.cut();
    stop.cancel();
    let end = soon(candidate(&fake, "a").lead(&stop, || async {})).await;
    assert_eq!(end, End::NeverLed);
}
