//! What Builds left on the engine → removed, by UID, once it is not needed; the engine's events → calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered, select_all},
};
use kube::{
    Api,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use slipway_crds::v1alpha1::Build;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::controllers::{
    build::{BuildError, Builds, lock},
    chain,
};
use slipway_driver::contract::Driver;
use slipway_k8s::classify::found;

/// How often everything is swept, in case a deletion was missed.
const EVERY: Duration = Duration::from_mins(10);
/// Most Builds that are listed at once.
const PAGE: u32 = 500;
/// For how many Builds at once leftovers are removed.
const SWEPT_AT_ONCE: usize = 4;
/// How long after the engine's event stream broke it is opened again: the first and the longest delay.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_mins(1);

impl<D: Driver> Builds<D> {
    /// Sweeps, listens and pulls until dropped. It runs only while the controller runs.
    pub async fn tend(&self) {
        let working = self.driver.work(|uid| self.call(uid));
        futures::join!(self.sweep_always(), self.listen_always(), working);
    }

    async fn sweep_always(&self) {
        let watches = self.namespaced().into_iter().map(|api| {
            let api: Api<PartialObjectMeta<Build>> = api;
            watcher(api, watcher::Config::default())
                .default_backoff()
                .boxed()
        });
        let mut events = select_all(watches);
        let mut removals = FuturesUnordered::new();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = AGAIN;
        loop {
            let swept = tokio::select! {
                _ = ticks.tick() => self.sweep().await,
                Some(event) = events.next() => match event {
                    Ok(watcher::Event::Delete(gone)) => {
                        removals.push(self.remove(gone.metadata.uid));
                        continue;
                    }
                    // Deletions before this may have been missed.
                    Ok(watcher::Event::InitDone) => self.sweep().await,
                    Ok(_) => continue,
                    Err(error) => {
                        tracing::debug!(%error, "the watch of deleted Builds failed; it is tried again");
                        continue;
                    }
                },
                Some(removed) = removals.next() => match removed {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            };
            match swept {
                Ok(()) => pause = AGAIN,
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        retry_after = ?pause,
                        "cannot sweep the build engine; tried again"
                    );
                    ticks.reset_after(pause);
                    pause = (pause * 2).min(EVERY);
                }
            }
        }
    }

    /// A Build was deleted.
    pub(super) async fn remove(&self, uid: Option<String>) -> Result<(), BuildError> {
        let Some(uid) = uid else { return Ok(()) };
        self.driver.remove(&uid).await?;
        lock(&self.untidy).remove(&uid);
        self.give_back(&uid);
        // Others may have waited for a Build that had not begun.
        self.call_waiting();
        Ok(())
    }

    /// Removes leftovers that belong to no Build, or to one whose log is stored, and has the other Builds reconciled. A
    /// failure for one Build is logged and does not stop the others; the last failure is returned.
    pub(super) async fn sweep(&self) -> Result<(), BuildError> {
        // List the engine first: for what it has now, the API server had the Build before.
        let leftovers = self.driver.leftovers().await?;
        if leftovers.is_empty() {
            return Ok(());
        }
        let (builds, unread) = self.existing().await;
        let all_read = unread.is_none();
        let swept = stream::iter(leftovers).map(|uid| {
            let place = builds.get(&uid);
            async move {
                let swept = self.sweep_one(&uid, place, all_read).await;
                (uid, swept)
            }
        });
        let mut swept = swept.buffer_unordered(SWEPT_AT_ONCE);
        let mut trouble = unread;
        while let Some((uid, result)) = swept.next().await {
            if let Err(error) = result {
                tracing::warn!(
                    uid,
                    error = chain(&error),
                    "cannot remove what a Build left on the engine"
                );
                trouble = Some(error);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn sweep_one(
        &self,
        uid: &str,
        place: Option<&(String, String)>,
        all_read: bool,
    ) -> Result<(), BuildError> {
        match place {
            Some((namespace, name)) if !self.is_archived(namespace, name, uid).await? => {
                // If the Build is over and has no log, only this entry tells its next reconcile that something is left.
                lock(&self.untidy).insert(uid.to_owned());
                self.call(uid);
            }
            // Its Build may be one of those that could not be read.
            None if !all_read => {}
            _ => {
                tracing::info!(uid, "removing what a Build left on the engine");
                self.driver.remove(uid).await?;
                self.leave(uid);
            }
        }
        Ok(())
    }

    /// Namespace and name of all Builds, by UID, as the API server has them now; with the error, if not all could be
    /// read.
    async fn existing(&self) -> (BTreeMap<String, (String, String)>, Option<BuildError>) {
        let mut existing = BTreeMap::new();
        let mut unread = None;
        let apis: Vec<Api<Build>> = self.namespaced();
        for api in apis {
            let mut pages = ListParams::default().limit(PAGE);
            loop {
                let list = match api.list_metadata(&pages).await {
                    Ok(list) => list,
                    Err(error) => {
                        unread = Some(BuildError::read(error));
                        break;
                    }
                };
                existing.extend(list.items.into_iter().filter_map(|object| {
                    let meta = object.metadata;
                    Some((meta.uid?, (meta.namespace?, meta.name?)))
                }));
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => pages = pages.continue_token(&token),
                    None => break,
                }
            }
        }
        (existing, unread)
    }

    async fn is_archived(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<bool, BuildError> {
        let api: Api<Build> = Api::namespaced(self.client.clone(), namespace);
        let build = found(api.get(name).await).map_err(BuildError::read)?;
        Ok(build
            .filter(|build| build.metadata.uid.as_deref() == Some(uid))
            .is_none_or(|build| build.status.is_some_and(|status| status.log.is_some())))
    }

    fn namespaced<K>(&self) -> Vec<Api<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        let namespaces: BTreeSet<&str> = self
            .settings
            .watch_namespaces
            .iter()
            .map(String::as_str)
            .collect();
        if namespaces.is_empty() {
            return vec![Api::all(self.client.clone())];
        }
        namespaces
            .into_iter()
            .map(|namespace| Api::namespaced(self.client.clone(), namespace))
            .collect()
    }

    async fn listen_always(&self) {
        let mut pause = AGAIN;
        loop {
            match self.driver.ended().await {
                Ok(mut ended) => {
                    let since = (self.clock)();
                    // Catch up on what ended or got stuck while nothing listened.
                    for entry in self.entries() {
                        if !entry.phase.is_over() {
                            self.call(&entry.uid);
                        }
                    }
                    while let Some(uid) = ended.next().await {
                        self.call(&uid);
                    }
                    tracing::info!(retry_after = ?pause, "the build engine was lost; listening again");
                    // A stream that breaks at once does not reset the back-off.
                    let listened = (self.clock)().duration_since(since);
                    if listened.unsigned_abs() >= AGAIN_AT_MOST {
                        pause = AGAIN;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), retry_after = ?pause, "cannot listen to the build engine");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AT_MOST);
        }
    }
}
