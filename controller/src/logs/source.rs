//! A Build → its log, from the begin: out of the engine while its containers are there, out of the registry after.
//!
//! ```text
//! position 0 ──fetch──▶──build──▶──export──▶ end      each zone's output follows the one before
//!       └───────────── the kept log ────────▶ end      the same bytes, so a reader may change over anywhere
//! ```

use std::{future::Future, io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::{
    SinkExt as _, Stream, StreamExt as _,
    channel::mpsc::{self, Sender},
    stream::{self, BoxStream},
};
use kube::{Api, Client, ResourceExt as _};
use slipway_crds::v1alpha1::{Artifact, Build, BuildStatus};
use tokio::time::sleep;

use crate::{
    build::{
        driver::{Driver, DriverError, ZoneState},
        plan::container,
    },
    zone::Zone,
};

/// Between two looks for a zone that has not begun.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] DriverError),
    /// The registry.
    #[error("cannot read the log from the registry")]
    Registry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is kept cannot be expanded.
    #[error("the kept log is damaged")]
    Damaged(#[from] std::io::Error),
    /// The API server.
    #[error("cannot look at the Build: {0}")]
    Build(Box<kube::Error>),
}

/// Pieces of a log.
pub type Pieces = BoxStream<'static, Result<Bytes, SourceError>>;

/// Reads kept logs: compressed, whole.
pub trait Archive: Send + Sync + 'static {
    /// The artifact's one layer.
    fn open(&self, artifact: &Artifact)
    -> impl Future<Output = Result<Pieces, SourceError>> + Send;
}

/// Where logs come from.
pub trait Source: Send + Sync + 'static {
    /// The log, but for its first `skip` bytes; with `follow` until the Build is over. `None` if there is nothing to
    /// be had any more.
    fn open(
        self: Arc<Self>,
        build: Build,
        follow: bool,
        skip: u64,
    ) -> impl Future<Output = Result<Option<Pieces>, SourceError>> + Send;
}

/// Engine and registry.
pub struct Logs<D, A> {
    client: Client,
    driver: Arc<D>,
    archive: A,
}

impl<D: Driver, A: Archive> Logs<D, A> {
    /// From the driver that runs builds and the registry that keeps their logs.
    pub fn new(client: Client, driver: Arc<D>, archive: A) -> Self {
        Self {
            client,
            driver,
            archive,
        }
    }

    /// Whether any zone's container is there.
    async fn on_engine(&self, uid: &str) -> Result<bool, DriverError> {
        for zone in Zone::ALL {
            if self.driver.observe(&container(uid, zone)).await? != ZoneState::Absent {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn run(&self, build: Build, follow: bool, mut out: Out) -> Result<(), Stop> {
        let mut build = build;
        let uid = build.uid().unwrap_or_default();
        for zone in Zone::ALL {
            let name = container(&uid, zone);
            loop {
                if let Some(log) = kept(&build) {
                    return self.rest(log, &mut out).await;
                }
                match self.driver.observe(&name).await? {
                    ZoneState::Running | ZoneState::Exited { .. } => {
                        let mut output = self.driver.logs(&name, follow).await?;
                        while let Some(bytes) = output.next().await {
                            out.send(bytes?).await?;
                        }
                        break;
                    }
                    ZoneState::Absent | ZoneState::Created if is_over(&build) => {
                        // Containers go once the log is kept: perhaps they just did.
                        let now = self.now(&build).await?;
                        return match now.as_ref().and_then(kept) {
                            Some(log) => self.rest(log, &mut out).await,
                            None => Ok(()),
                        };
                    }
                    ZoneState::Absent | ZoneState::Created if !follow => return Ok(()),
                    ZoneState::Absent | ZoneState::Created => sleep(PAUSE).await,
                }
                match self.now(&build).await? {
                    Some(found) => build = found,
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// The same Build as it is now; `None` if it is gone.
    async fn now(&self, build: &Build) -> Result<Option<Build>, SourceError> {
        let namespace = build.namespace().unwrap_or_default();
        let builds: Api<Build> = Api::namespaced(self.client.clone(), &namespace);
        let found = builds
            .get_opt(&build.name_any())
            .await
            .map_err(|error| SourceError::Build(Box::new(error)))?;
        Ok(found.filter(|found| found.metadata.uid == build.metadata.uid))
    }

    /// What of the kept log comes after what was sent.
    async fn rest(&self, log: Artifact, out: &mut Out) -> Result<(), Stop> {
        let position = out.position;
        out.rewind(position);
        let mut compressed = self.archive.open(&log).await?;
        let mut decoder = GzDecoder::new(Vec::new());
        while let Some(bytes) = compressed.next().await {
            decoder.write_all(&bytes?).map_err(SourceError::Damaged)?;
            out.send(std::mem::take(decoder.get_mut()).into()).await?;
        }
        let last = decoder.finish().map_err(SourceError::Damaged)?;
        out.send(last.into()).await
    }
}

impl<D: Driver, A: Archive> Source for Logs<D, A> {
    async fn open(
        self: Arc<Self>,
        build: Build,
        follow: bool,
        skip: u64,
    ) -> Result<Option<Pieces>, SourceError> {
        if is_over(&build) && kept(&build).is_none() {
            let uid = build.uid().unwrap_or_default();
            if !self.on_engine(&uid).await? {
                return Ok(None);
            }
        }
        let (sender, receiver) = mpsc::channel(8);
        let out = Out {
            sender,
            position: 0,
            skip,
        };
        let work = async move {
            match self.run(build, follow, out).await {
                Ok(()) | Err(Stop::NobodyListens) => None,
                Err(Stop::Failed(error)) => Some(Err(error)),
            }
        };
        Ok(Some(joined(receiver, work).boxed()))
    }
}

/// The pieces, and what the work that makes them says at its end.
fn joined(
    pieces: mpsc::Receiver<Bytes>,
    work: impl Future<Output = Option<Result<Bytes, SourceError>>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, SourceError>> + Send {
    let end = stream::once(work).filter_map(std::future::ready);
    stream::select(pieces.map(Ok), end)
}

fn kept(build: &Build) -> Option<Artifact> {
    build.status.as_ref()?.log.clone()
}

fn is_over(build: &Build) -> bool {
    build
        .status
        .as_ref()
        .is_some_and(|BuildStatus { phase, .. }| phase.is_over())
}

enum Stop {
    NobodyListens,
    Failed(SourceError),
}

impl<E: Into<SourceError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Passes on what comes after the first `skip` bytes.
struct Out {
    sender: Sender<Bytes>,
    position: u64,
    skip: u64,
}

impl Out {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Stop> {
        let length = bytes.len() as u64;
        let drop = self.skip.saturating_sub(self.position).min(length);
        self.position += length;
        let rest = bytes.slice(usize::try_from(drop).unwrap_or(bytes.len())..);
        if rest.is_empty() {
            return Ok(());
        }
        self.sender
            .send(rest)
            .await
            .map_err(|_| Stop::NobodyListens)
    }

    /// What was passed on comes once more from its begin, and is passed over.
    fn rewind(&mut self, position: u64) {
        self.skip = self.skip.max(position);
        self.position = 0;
    }
}
