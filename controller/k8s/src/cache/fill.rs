//! API server → cache, for ever: a list, page by page, then a watch.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use futures::TryStreamExt as _;
use kube::{
    Api, Resource as _,
    api::{ListParams, WatchEvent, WatchParams},
    core::Request,
};
use tokio::time::{Instant, sleep};

use crate::{
    cache::{Cache, Cached, guard::Guarded, state},
    classify, pages,
};

/// Delay before another try: the first, and the longest.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

impl<K: Cached> Cache<K> {
    /// Says how many lists have to be read before the cache is full.
    pub fn expect(&self, lists: usize) {
        self.0.missing.send_replace(lists);
    }

    /// Keeps the cache up to date for ever, for one namespace or for all.
    pub async fn fill(&self, api: Api<K>, namespace: Option<&str>) {
        let mut is_first = true;
        let mut pause = AGAIN;
        loop {
            let version = match self.list(&api, namespace).await {
                Ok(version) => version,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, retry_after = ?pause, "cannot list");
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AT_MOST);
                    continue;
                }
            };
            pause = AGAIN;
            if std::mem::take(&mut is_first) {
                self.0
                    .missing
                    .send_modify(|missing| *missing = missing.saturating_sub(1));
            }
            self.follow(&api, version).await;
        }
    }

    /// Lists all objects. Returns the version of the list. Removes from the cache what the list does not have, except
    /// objects newer than the list, which a write may have put in meanwhile.
    pub async fn list(&self, api: &Api<K>, namespace: Option<&str>) -> Result<String, kube::Error> {
        let mut listed = BTreeSet::new();
        let params = ListParams {
            label_selector: self.0.rules.selector.clone(),
            ..ListParams::default()
        };
        let version = pages::read_all(api, params, |Guarded(object): Guarded<K>| {
            listed.insert(state::uid(object.meta()));
            self.saw(object, None);
        })
        .await?;
        let lost = self.state().keep_only(namespace, &listed, &version);
        for (meta, key) in lost {
            self.look(&meta, None);
            let name = meta.name.as_deref().unwrap_or_default();
            self.tell(&key, name, state::Change::GONE, None);
        }
        Ok(version)
    }

    /// Watches for changes, until the API server no longer has those that follow `version`.
    async fn follow(&self, api: &Api<K>, mut version: String) {
        let mut pause = AGAIN;
        loop {
            let began = Instant::now();
            match self.watch(api, &mut version).await {
                // A watch ends now and then; at once if the API server is about to stop.
                Ok(()) => {
                    pause = AGAIN;
                    sleep(AGAIN.saturating_sub(began.elapsed())).await;
                }
                Err(error) if classify::is_expired(&error) => return,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, retry_after = ?pause, "a watch failed");
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AT_MOST);
                }
            }
        }
    }

    async fn watch(&self, api: &Api<K>, version: &mut String) -> Result<(), kube::Error> {
        let params = WatchParams {
            label_selector: self.0.rules.selector.clone(),
            ..WatchParams::default()
        };
        let requests = Request::new(api.resource_url());
        let request = if K::metadata_api() {
            requests.watch_metadata(&params, version)
        } else {
            requests.watch(&params, version)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let client = api.clone().into_client();
        let events = client.request_events::<Guarded<K>>(request);
        let mut events = pin!(events.await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(Guarded(object)) | WatchEvent::Modified(Guarded(object)) => {
                    reached(version, object.meta().resource_version.as_ref());
                    self.saw(object, None);
                }
                WatchEvent::Deleted(Guarded(object)) => {
                    reached(version, object.meta().resource_version.as_ref());
                    self.gone(object.meta(), None);
                }
                WatchEvent::Bookmark(bookmark) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                }
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        Ok(())
    }
}

fn reached(version: &mut String, now: Option<&String>) {
    if let Some(now) = now {
        version.clone_from(now);
    }
}
