//! What only the leader does: it runs the controllers.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    controllers::{
        self, Wiring, app::AppController, build::Builds, caches::Caches, release::ReleaseController,
    },
    runtime::{parts::Parts, registry, runner::Runner},
};
use slipway_k8s::network;

/// How long running reconciles may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the controllers, once the API server knows our kinds, until the operator is asked to stop.
pub(super) async fn work(
    parts: &Parts,
    mut missing: watch::Receiver<Vec<String>>,
    unsynced: watch::Sender<Vec<String>>,
) {
    let Parts {
        client,
        settings,
        stop,
        ..
    } = parts;
    let ready = async {
        all_known(&mut missing).await;
        // Before the operator connects anywhere for a tenant.
        network::look(client, &settings.outside, parts.pod_address).await;
    };
    if stop.run_until_cancelled(ready).await.is_none() {
        return;
    }
    let caches = Caches::default();
    let wiring = wiring(parts, caches.clone(), unsynced);
    let app = Arc::new(app(parts, &wiring));
    let builds = Arc::new(builds(parts, &wiring));
    let release = release(parts, &wiring);
    // Each controller has a task of its own, so that none keeps the lease from being renewed. They end with this
    // future.
    let mut controllers = JoinSet::new();
    controllers.spawn(controllers::run(Arc::clone(&app), wiring.clone()));
    controllers.spawn(controllers::run(Arc::clone(&builds), wiring.clone()));
    controllers.spawn(controllers::run(Arc::new(release), wiring));
    let mut caching = JoinSet::new();
    let (client_of_caches, namespaces) = (client.clone(), settings.watch_namespaces.clone());
    caching.spawn(async move { caches.fill(&client_of_caches, &namespaces).await });
    let patience = async {
        stop.cancelled().await;
        sleep(DRAIN).await;
        tracing::warn!("the reconciles that still run are dropped: they did not end in time");
    };
    tokio::select! {
        _ = controllers.join_all() => {}
        _ = caching.join_all() => {}
        () = app.tend() => {}
        () = builds.tend() => {}
        () = registry::watch(client.clone(), parts.events.clone(), Arc::clone(settings)) => {}
        () = patience => {}
    }
}

/// Waits until nothing is missing. `wait_for` returns a lock on the channel, which is dropped at once: otherwise the
/// next sender would block on it, and its thread too.
async fn all_known(missing: &mut watch::Receiver<Vec<String>>) {
    drop(missing.wait_for(Vec::is_empty).await);
}

fn wiring(parts: &Parts, caches: Caches, unsynced: watch::Sender<Vec<String>>) -> Wiring {
    Wiring {
        client: parts.client.clone(),
        caches,
        namespaces: parts.settings.watch_namespaces.clone(),
        events: parts.events.clone(),
        meters: parts.meters.controllers.clone(),
        stop: parts.stop.clone(),
        unsynced,
    }
}

fn app(parts: &Parts, wiring: &Wiring) -> AppController {
    AppController::new(
        wiring,
        Arc::clone(&parts.settings),
        Arc::clone(&parts.clock),
        parts.hash_key.clone(),
        parts.clients.clone(),
    )
}

fn builds(parts: &Parts, wiring: &Wiring) -> Builds<Runner> {
    Builds::new(controllers::build::Parts {
        client: parts.client.clone(),
        cache: wiring.caches.builds.clone(),
        settings: Arc::clone(&parts.settings),
        events: parts.events.clone(),
        meters: parts.meters.builds.clone(),
        clock: Arc::clone(&parts.clock),
        driver: Arc::clone(&parts.driver),
        registry: Arc::clone(&parts.clients.registry),
        key: parts.hash_key.clone(),
    })
}

fn release(parts: &Parts, wiring: &Wiring) -> ReleaseController {
    let (clock, meters) = (Arc::clone(&parts.clock), parts.meters.deploys.clone());
    ReleaseController::new(wiring, &parts.settings, clock, meters)
}
