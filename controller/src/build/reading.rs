//! A Build's log for whoever may read it: from the engine while there are containers, from the registry afterwards.
//!
//! The stored log is the zones' output one after the other, so that a reader who followed the containers goes on in
//! it where those were taken away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use slipway_crds::v1alpha1::{self as api, Build};

use crate::{
    build::{
        archive,
        driver::{Driver, ZoneState},
        log::LogError,
        plan::container,
    },
    registry::Registry,
    zone::{Zone, input::Artifact},
};

/// How often a follower looks whether the next zone has begun.
const LOOK: Duration = Duration::from_millis(500);

/// Tells how the Build is now; `None` when it is gone.
pub type Look = Arc<dyn Fn() -> BoxFuture<'static, Option<Build>> + Send + Sync>;

/// A log's text.
pub type Text = BoxStream<'static, Result<Bytes, LogError>>;

/// Where logs come from.
pub struct Source<D> {
    /// The engine.
    pub driver: Arc<D>,
    /// The registry.
    pub registry: Arc<Registry>,
}

impl<D> Clone for Source<D> {
    fn clone(&self) -> Self {
        Self {
            driver: Arc::clone(&self.driver),
            registry: Arc::clone(&self.registry),
        }
    }
}

/// The log of the Build with this UID, from its begin; with `follow` until the Build is over.
pub fn read<D: Driver>(source: Source<D>, uid: String, look: Look, follow: bool) -> Text {
    let reader = Reader {
        source,
        uid,
        look,
        follow,
        read: Arc::new(AtomicU64::new(0)),
    };
    stream::unfold(Some((reader, Some(Zone::Fetch))), |state| async move {
        let (reader, zone) = state?;
        match zone {
            Some(zone) => {
                let part = reader.zone(zone).await;
                let next = following(zone);
                let failed = part.is_err();
                Some((part, (!failed).then_some((reader, next))))
            }
            None => Some((reader.rest().await, None)),
        }
    })
    .try_flatten()
    .boxed()
}

const fn following(zone: Zone) -> Option<Zone> {
    match zone {
        Zone::Fetch => Some(Zone::Build),
        Zone::Build => Some(Zone::Export),
        Zone::Export => None,
    }
}

struct Reader<D> {
    source: Source<D>,
    uid: String,
    look: Look,
    follow: bool,
    read: Arc<AtomicU64>,
}

impl<D: Driver> Reader<D> {
    /// One zone's output; empty if it has no container and, for a follower, will have none.
    async fn zone(&self, zone: Zone) -> Result<Text, LogError> {
        let container = container(&self.uid, zone);
        loop {
            // Before the engine: a Build that is over starts nothing any more.
            let over = !self.follow || self.is_over().await;
            let state = self.source.driver.observe(&container).await?;
            if !matches!(state, ZoneState::Absent | ZoneState::Created) {
                break;
            }
            if over {
                return Ok(stream::empty().boxed());
            }
            tokio::time::sleep(LOOK).await;
        }
        let output = self.source.driver.logs(&container, self.follow).await?;
        let read = Arc::clone(&self.read);
        Ok(output
            .map_err(LogError::from)
            .inspect_ok(move |bytes| {
                read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            })
            .boxed())
    }

    async fn is_over(&self) -> bool {
        (self.look)()
            .await
            .is_none_or(|build| build.status.is_some_and(|status| status.phase.is_over()))
    }

    /// What the registry has beyond what was read from containers.
    async fn rest(&self) -> Result<Text, LogError> {
        let log = (self.look)().await.and_then(|build| build.status?.log);
        match log {
            Some(api::Artifact { repository, digest }) => {
                let artifact = Artifact { repository, digest };
                let read = self.read.load(Ordering::Relaxed);
                archive::open(&self.source.registry, &artifact, read).await
            }
            None => Ok(stream::empty().boxed()),
        }
    }
}
