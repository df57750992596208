//! Watches → reconciles: the one place in the process where controllers are set up.
//!
//! The folders beside this file say what a reconcile does; they know nothing of each other and are connected by API
//! objects only. `attempt` has what all reconciles have in common.

pub mod app;
mod attempt;
pub mod build;
pub mod caches;
pub mod history;
mod queue;
pub mod reconcile;
pub mod release;
pub mod watches;

use std::{future::poll_fn, panic::resume_unwind, pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::join};
use kube::Client;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    attempt::Shared,
    caches::Caches,
    queue::{Queue, Rounds, Timers},
    reconcile::Reconcile,
    watches::{Request, Watches},
};
pub use slipway_k8s::classify::chain;
use slipway_k8s::{cache::Key, events::Publisher};
use slipway_telemetry::meters::ControllerMeters;

/// What every controller is made with.
#[derive(Clone)]
pub struct Wiring {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    pub caches: Caches,
    /// Namespaces that are watched; if empty, all.
    pub namespaces: Vec<String>,
    /// Where Events go.
    pub events: Publisher,
    /// Where reconciles are counted.
    pub meters: ControllerMeters,
    /// When cancelled, no new reconcile begins, and the running ones are finished.
    pub stop: CancellationToken,
    /// Names of caches that are not filled yet; readiness looks at it.
    pub unsynced: watch::Sender<Vec<String>>,
}

/// Runs a controller until it is stopped, then waits for the running reconciles. Dropping the future aborts them.
///
/// It begins when all caches are full, so that nothing is decided on incomplete data.
pub async fn run<R: Reconcile>(reconciler: Arc<R>, wiring: Wiring) {
    let Wiring {
        client,
        caches,
        namespaces,
        events,
        meters,
        stop,
        unsynced,
    } = wiring;
    let cache = format!("{} cache", R::NAME);
    unsynced.send_modify(|names| names.push(cache.clone()));
    let full = join(reconciler.cache().is_full(), caches.are_full());
    if stop.run_until_cancelled(full).await.is_none() {
        return;
    }
    let watches = Watches::new(reconciler.cache(), client.clone(), namespaces);
    let requests = reconciler.watches(watches).requests();
    unsynced.send_modify(|names| names.retain(|name| *name != cache));
    let shared = Arc::new(Shared::new(reconciler, client, events, meters));
    work(&shared, requests, stop).await;
}

/// Reconciles the objects that exist and those that are asked for, until it is asked to stop.
async fn work<R: Reconcile>(
    shared: &Arc<Shared<R>>,
    requests: impl Stream<Item = Request>,
    stop: CancellationToken,
) {
    let mut requests = pin!(requests);
    let mut queue = Queue::new(shared.reconciler.cache().names());
    let (mut timers, mut rounds) = (Timers::default(), Rounds::new());
    let mut attempts = JoinSet::new();
    loop {
        while queue.running() < usize::from(R::CONCURRENCY)
            && !stop.is_cancelled()
            && let Some(key) = queue.next()
        {
            timers.cancel(&key);
            attempts.spawn(attempt(Arc::clone(shared), key));
        }
        if stop.is_cancelled() && attempts.is_empty() {
            return;
        }
        tokio::select! {
            Some(request) = requests.next() => match request {
                Request { key, within: Duration::ZERO } => queue.add(key),
                Request { key, .. } if queue.is_waiting(&key) => {}
                Request { key, within } => timers.within(key, within),
            },
            Some(key) = poll_fn(|context| timers.poll_next(context)) => queue.add(key),
            part = rounds.next() => {
                let all = shared.reconciler.cache().names().into_iter();
                all.filter(|key| Rounds::is_in(key, part)).for_each(|key| queue.add_unchanged(key));
            }
            Some(ended) = attempts.join_next() => {
                let (key, again) = ended.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
                if let Some(after) = again {
                    timers.within(key.clone(), after);
                }
                queue.done(&key);
            }
            () = stop.cancelled(), if !stop.is_cancelled() => {}
        }
    }
}

async fn attempt<R: Reconcile>(shared: Arc<Shared<R>>, key: Key) -> (Key, Option<Duration>) {
    let again = shared.attempt(&key).await;
    (key, again)
}

#[cfg(test)]
mod tests;
