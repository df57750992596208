//! What Builds left on the engine → removed, by UID, once nobody needs it; the engine's events → calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, stream::select_all};
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

use crate::{
    build::driver::Driver,
    controllers::{
        build::{BuildError, Builds},
        chain,
    },
    k8s::classify::found,
};

/// How often everything is swept, should a deletion be missed.
const EVERY: Duration = Duration::from_mins(10);
/// How long after it was lost the engine is listened to again, first and at most.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_mins(1);

impl<D: Driver> Builds<D> {
    /// Sweeps and listens until dropped. Runs where the controller runs, and only there.
    pub async fn tend(&self) {
        futures::join!(self.sweep_always(), self.listen_always());
    }

    async fn sweep_always(&self) {
        let watches = self.namespaced().into_iter().map(|api| {
            let api: Api<PartialObjectMeta<Build>> = api;
            watcher(api, watcher::Config::default())
                .default_backoff()
                .boxed()
        });
        let mut events = select_all(watches);
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let swept = tokio::select! {
                _ = ticks.tick() => self.sweep().await,
                Some(event) = events.next() => match event {
                    Ok(watcher::Event::Delete(gone)) => self.remove(gone.metadata.uid).await,
                    // Deletions may have been missed before.
                    Ok(watcher::Event::InitDone) => self.sweep().await,
                    Ok(_) => Ok(()),
                    Err(error) => {
                        tracing::debug!(%error, "the watch of deleted Builds failed; it is tried again");
                        Ok(())
                    }
                },
            };
            if let Err(error) = swept {
                tracing::warn!(
                    error = chain(&error),
                    "cannot sweep the build engine; tried again"
                );
            }
        }
    }

    /// A Build was deleted.
    pub(super) async fn remove(&self, uid: Option<String>) -> Result<(), BuildError> {
        let Some(uid) = uid else { return Ok(()) };
        self.driver.remove(&uid).await?;
        self.give_back(&uid);
        // Also one that had not begun was waited for.
        self.call_waiting();
        Ok(())
    }

    /// Removes what belongs to no Build, or to one whose log is stored, and has the others looked at.
    async fn sweep(&self) -> Result<(), BuildError> {
        // The engine first: whatever it has now was made for a Build that the API server had before.
        let leftovers = self.driver.leftovers().await?;
        if leftovers.is_empty() {
            return Ok(());
        }
        let builds = self.existing().await?;
        for uid in leftovers {
            match builds.get(&uid) {
                Some((namespace, name)) if !self.is_archived(namespace, name, &uid).await? => {
                    self.call(&uid);
                }
                _ => {
                    tracing::info!(uid, "removing what a Build left on the engine");
                    self.driver.remove(&uid).await?;
                    self.leave(&uid);
                }
            }
        }
        Ok(())
    }

    /// Namespace and name of all Builds, by UID, as the API server has them now.
    async fn existing(&self) -> Result<BTreeMap<String, (String, String)>, BuildError> {
        let mut existing = BTreeMap::new();
        let apis: Vec<Api<Build>> = self.namespaced();
        for api in apis {
            let list = api
                .list_metadata(&ListParams::default())
                .await
                .map_err(BuildError::read)?;
            for object in list.items {
                let meta = object.metadata;
                if let (Some(uid), Some(namespace), Some(name)) =
                    (meta.uid, meta.namespace, meta.name)
                {
                    existing.insert(uid, (namespace, name));
                }
            }
        }
        Ok(existing)
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
                    pause = AGAIN;
                    // What ended, or could not go on, while nobody listened.
                    for entry in self.entries() {
                        if !entry.phase.is_over() {
                            self.call(&entry.uid);
                        }
                    }
                    while let Some(uid) = ended.next().await {
                        self.call(&uid);
                    }
                    tracing::info!("the build engine was lost; listening again");
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
