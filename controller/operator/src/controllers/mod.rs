//! Watches → reconciles: the one place in the process where controllers are set up.
//!
//! The folders beside this file say what a reconcile does; they know nothing of each other and are connected by API
//! objects only. `attempt` has what all reconciles have in common.

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
    // A controller that is stopped before its cache is filled would wait for the cache for ever; nothing has begun yet.
    tokio::select! {
        () = work(&shared, watches, stop.clone()) => {}
        () = never_began => {}
    }
}

/// What a controller watches. If its objects are in a shared cache, it waits until all caches are full, so that nothing
/// is decided on incomplete data.
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

/// Reconciles the objects that the watches report, until it is asked to stop.
///
/// [`Shared::slots`] limits how many run at once, and serves them in turn. The runtime's own limit keeps waiting
/// objects in a set and takes any of them next: some could wait as long as others keep coming.
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
