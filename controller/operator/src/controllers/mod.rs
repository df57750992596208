//! Watches → reconciles: the only set-up of a controller in the process.
//!
//! What a reconcile does is in the folders beside this file; they know nothing of each other and are joined by API objects
//! only. `attempt` is what all reconciles have in common.

pub mod app;
mod attempt;
pub mod build;
pub mod caches;
pub mod history;
pub mod pace;
pub mod reconcile;
pub mod release;
pub mod watches;

use std::sync::Arc;

use futures::{StreamExt as _, future::join_all};
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    attempt::{Never, Shared},
    caches::Caches,
    reconcile::Reconcile,
    watches::Watches,
};
pub use slipway_k8s::classify::chain;
use slipway_k8s::events::Publisher;
use slipway_telemetry::meters::ControllerMeters;

/// What every controller is made with.
#[derive(Clone)]
pub struct Wiring {
    /// The API server.
    pub client: Client,
    /// What is known of it.
    pub caches: Caches,
    /// Namespaces that are looked after; none: all.
    pub namespaces: Vec<String>,
    /// Where Events go.
    pub events: Publisher,
    /// Where reconciles are counted.
    pub meters: ControllerMeters,
    /// Cancelled: no new reconcile begins, and those that run are finished.
    pub stop: CancellationToken,
    /// Names of caches that are not filled yet; readiness looks at it.
    pub unsynced: watch::Sender<Vec<String>>,
}

/// Runs a controller until it is stopped, then waits for the reconciles that run. Dropping the future aborts them.
pub async fn run<R: Reconcile>(reconciler: Arc<R>, wiring: Wiring) {
    let namespaces = match wiring.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let (events, meters) = (wiring.events.clone(), wiring.meters.clone());
    let shared = Arc::new(Shared::new(reconciler, events, meters));
    join_all(
        namespaces
            .into_iter()
            .map(|namespace| in_namespace(Arc::clone(&shared), wiring.clone(), namespace)),
    )
    .await;
}

async fn in_namespace<R: Reconcile>(
    shared: Arc<Shared<R>>,
    wiring: Wiring,
    namespace: Option<String>,
) {
    let cache = match &namespace {
        None => format!("{} cache", R::NAME),
        Some(namespace) => format!("{} cache of namespace {namespace}", R::NAME),
    };
    let (stop, unsynced) = (wiring.stop.clone(), wiring.unsynced.clone());
    unsynced.send_modify(|names| names.push(cache.clone()));
    let watches = watches(&shared, wiring, namespace);
    let Some(watches) = stop.run_until_cancelled(watches).await else {
        return;
    };
    let store = watches.controller.store();
    let never_began = async {
        let ready = stop.run_until_cancelled(store.wait_until_ready());
        if ready.await.is_some() {
            unsynced.send_modify(|names| names.retain(|name| *name != cache));
            std::future::pending::<()>().await;
        }
    };
    // Asked to stop before its cache was filled, a controller would wait for that for ever; nothing has begun.
    tokio::select! {
        () = work(&shared, watches, stop.clone()) => {}
        () = never_began => {}
    }
}

/// What a controller watches. If others look at its objects as well, it waits until all caches are full: nothing is
/// decided by half of what there is.
async fn watches<R: Reconcile>(
    shared: &Shared<R>,
    wiring: Wiring,
    namespace: Option<String>,
) -> Watches<R::Object> {
    let watches = match shared.reconciler.cache() {
        Some(own) => {
            wiring.caches.are_full().await;
            let pace = Arc::clone(&shared.pace);
            Watches::of(&own, wiring.client, namespace, R::slim, pace)
        }
        None => Watches::new(wiring.client, namespace, R::slim),
    };
    shared.reconciler.watches(watches)
}

/// Reconciles what the watches tell of, until it is asked to stop.
///
/// How many run at once is bound by [`Shared::slots`], which gives them out in turn. The runtime's own bound keeps who has
/// to wait in a set, and takes any of them next: some would wait as long as others keep coming.
async fn work<R: Reconcile>(
    shared: &Arc<Shared<R>>,
    watches: Watches<R::Object>,
    stop: CancellationToken,
) {
    let store = watches.controller.store();
    watches
        .controller
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(
            |object, shared: Arc<Shared<R>>| {
                let store = store.clone();
                async move { Ok::<_, Never>(shared.attempt(object, &store).await) }
            },
            |_, never: &Never, _| match *never {},
            Arc::clone(shared),
        )
        .for_each(|result| {
            shared.report(result);
            std::future::ready(())
        })
        .await;
}

#[cfg(test)]
mod tests;
