//! A Build → its log from the beginning: from the engine while its containers exist, then from the registry.
//!
//! ```text
//! position 0 ──fetch──▶──build──▶──export──▶ end      each zone's output follows the one before
//!       └───────────── the kept log ────────▶ end      the same bytes, so a reader may switch anywhere
//! ```

use std::{
    future::Future,
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use flate2::write::GzDecoder;
use futures::{
    SinkExt as _, Stream, StreamExt as _,
    channel::mpsc::{self, Sender},
    stream::{self, BoxStream},
};
use kube::{Api, Client, ResourceExt as _};
use slipway_crds::v1alpha1::{Artifact, Build, BuildStatus};
use tokio::time::sleep;

use slipway_base::zone::Zone;
use slipway_core::build::zones::{ZoneState, Zones};
use slipway_core::domain::repository::Repositories;
use slipway_driver::contract::{DriverError, Read};

/// Interval between two checks for a zone that has not begun.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] DriverError),
    /// The registry failed.
    #[error("cannot read the log from the registry")]
    Registry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kept log cannot be decompressed.
    #[error("the kept log is damaged")]
    Damaged(#[from] io::Error),
    /// The API server did not return the Build.
    #[error("cannot read the Build: {0}")]
    Build(Box<kube::Error>),
}

/// Pieces of a log.
pub type Pieces = BoxStream<'static, Result<Bytes, SourceError>>;

/// Reads kept logs, compressed and whole.
pub trait Archive: Send + Sync + 'static {
    /// The artifact's one layer.
    fn open(&self, artifact: &Artifact)
    -> impl Future<Output = Result<Pieces, SourceError>> + Send;
}

/// Where logs come from.
pub trait Source: Send + Sync + 'static {
    /// The log without its first `skip` bytes; with `follow`, until the Build is over. `None` if there is no log, or
    /// none any more.
    fn open(
        self: Arc<Self>,
        build: Build,
        follow: bool,
        skip: u64,
    ) -> impl Future<Output = Result<Option<Pieces>, SourceError>> + Send;
}

/// Reads logs from the engine and the registry.
pub struct Logs<D, A> {
    client: Client,
    driver: Arc<D>,
    archive: A,
    repositories: Repositories,
}

impl<D: Read, A: Archive> Logs<D, A> {
    /// Takes the driver that runs builds, and the registry that keeps their logs.
    pub fn new(client: Client, driver: Arc<D>, archive: A, repositories: Repositories) -> Self {
        Self {
            client,
            driver,
            archive,
            repositories,
        }
    }

    /// Where the log is kept. Only a repository of the Build's own App counts: otherwise, somebody who may write a
    /// Build's status could make the operator read another App's log for them.
    fn kept(&self, build: &Build) -> Option<Artifact> {
        let log = build.status.as_ref()?.log.as_ref()?;
        let namespace = build.metadata.namespace.as_deref()?;
        let app = &build.spec.app.name;
        if self.repositories.is_of_app(&log.repository, namespace, app) {
            return Some(log.clone());
        }
        tracing::warn!(
            namespace,
            build = build.name_any(),
            "the Build's status names a repository for the log that is not its App's: ignored"
        );
        None
    }

    async fn run(&self, mut build: Build, follow: bool, mut out: Out) -> Result<(), Stop> {
        self.zones(&mut build, follow, &mut out).await?;
        // Containers are removed once the log is kept. That may just have happened, so that their output ended early.
        if self.kept(&build).is_none()
            && let Some(now) = self.now(&build).await?
        {
            build = now;
        }
        match self.kept(&build) {
            Some(log) => self.rest(log, &mut out).await,
            None => Ok(()),
        }
    }

    /// Sends what the engine has, zone by zone, until the log is kept or there is no more.
    async fn zones(&self, build: &mut Build, follow: bool, out: &mut Out) -> Result<(), Stop> {
        let uid = build.uid().unwrap_or_default();
        for zone in Zone::ALL {
            loop {
                if self.kept(build).is_some() {
                    return Ok(());
                }
                match self.driver.observe(&uid).await?.of(zone) {
                    ZoneState::Running | ZoneState::Exited { .. } => {
                        let mut log = self.driver.output(&uid, zone, follow).await?.log();
                        while let Some(bytes) = log.next().await {
                            out.send(bytes?).await?;
                        }
                        break;
                    }
                    ZoneState::Absent | ZoneState::Preparing(_) if is_over(build) || !follow => {
                        return Ok(());
                    }
                    ZoneState::Absent | ZoneState::Preparing(_) => sleep(PAUSE).await,
                }
                match self.now(build).await? {
                    Some(found) => *build = found,
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// The same Build, read again; `None` if it no longer exists.
    async fn now(&self, build: &Build) -> Result<Option<Build>, SourceError> {
        let namespace = build.namespace().unwrap_or_default();
        let builds: Api<Build> = Api::namespaced(self.client.clone(), &namespace);
        let found = builds
            .get_opt(&build.name_any())
            .await
            .map_err(|error| SourceError::Build(Box::new(error)))?;
        Ok(found.filter(|found| found.metadata.uid == build.metadata.uid))
    }

    /// Sends the part of the kept log that follows what has been sent.
    async fn rest(&self, log: Artifact, out: &mut Out) -> Result<(), Stop> {
        let position = out.position;
        out.rewind(position);
        let mut compressed = self.archive.open(&log).await?;
        let mut decoder = GzDecoder::new(Vec::new());
        while let Some(bytes) = compressed.next().await {
            let mut bytes = bytes?;
            // One call decompresses no more than its own buffer holds, however much these bytes expand to. So a reader
            // that does not read on holds no more than that.
            while !bytes.is_empty() {
                let taken = decoder.write(&bytes).map_err(SourceError::Damaged)?;
                if taken == 0 {
                    return Err(SourceError::Damaged(io::ErrorKind::WriteZero.into()).into());
                }
                bytes.advance(taken);
                out.send(std::mem::take(decoder.get_mut()).into()).await?;
            }
        }
        let last = decoder.finish().map_err(SourceError::Damaged)?;
        out.send(last.into()).await
    }
}

impl<D: Read, A: Archive> Source for Logs<D, A> {
    async fn open(
        self: Arc<Self>,
        mut build: Build,
        follow: bool,
        skip: u64,
    ) -> Result<Option<Pieces>, SourceError> {
        if is_over(&build) && self.kept(&build).is_none() {
            let uid = build.uid().unwrap_or_default();
            if self.driver.observe(&uid).await? == Zones::NONE {
                // Containers are removed once the log is kept. That may just have happened.
                match self
                    .now(&build)
                    .await?
                    .filter(|now| self.kept(now).is_some())
                {
                    Some(now) => build = now,
                    None => return Ok(None),
                }
            }
        }
        // One piece waits to be read; the next one is made when the reader has taken it.
        let (sender, receiver) = mpsc::channel(0);
        let out = Out {
            sender,
            position: 0,
            skip,
        };
        // An error takes the same channel as the pieces, so that it does not overtake them.
        let mut end = out.sender.clone();
        let work = async move {
            if let Err(Stop::Failed(error)) = self.run(build, follow, out).await {
                // This fails only if nobody reads any more.
                let _ = end.send(Err(error)).await;
            }
        };
        Ok(Some(joined(receiver, work).boxed()))
    }
}

/// The pieces. Reading them also runs `work`, which makes them.
fn joined(
    pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, SourceError>> + Send {
    let work = stream::once(work).filter_map(|()| std::future::ready(None));
    stream::select(pieces, work)
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
    sender: Sender<Result<Bytes, SourceError>>,
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
            .send(Ok(rest))
            .await
            .map_err(|_| Stop::NobodyListens)
    }

    /// Begins again at the start of the log, and skips what has been passed on.
    fn rewind(&mut self, position: u64) {
        self.skip = self.skip.max(position);
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, Logs, Pieces, Source, SourceError, joined};
    use bytes::Bytes;
    use flate2::{Compression, write::GzEncoder};
    use futures::{
        SinkExt as _, Stream, StreamExt as _,
        channel::{mpsc, oneshot},
        stream,
    };
    use serde_json::{Value, json};
    use slipway_base::zone::Zone;
    use slipway_core::build::zones::{EndedBy, ZoneState, Zones};
    use slipway_core::domain::repository::Repositories;
    use slipway_crds::v1alpha1::{Artifact, Build};
    use slipway_driver::contract::{DriverError, Output, Read};
    use slipway_support::fake_api::Fake;
    use std::{
        collections::BTreeMap,
        io::Write as _,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        task::Poll,
        time::Duration,
    };
    use tokio_test::{
        assert_pending, assert_ready,
        task::{self, Spawn},
    };

    /// Zones by name: each one's state, and what it wrote.
    #[derive(Default)]
    struct Engine(Mutex<BTreeMap<&'static str, (ZoneState, &'static str)>>);

    impl Engine {
        fn with(zones: &[(&'static str, ZoneState, &'static str)]) -> Arc<Self> {
            let zones = zones
                .iter()
                .map(|(zone, state, text)| (*zone, (state.clone(), *text)));
            Arc::new(Self(Mutex::new(zones.collect())))
        }

        fn set(&self, zone: &'static str, state: ZoneState, text: &'static str) {
            self.0.lock().unwrap().insert(zone, (state, text));
        }

        fn zone(&self, zone: Zone) -> (ZoneState, &'static str) {
            let zones = self.0.lock().unwrap();
            let found = zones.get(zone.as_str()).cloned();
            found.unwrap_or((ZoneState::Absent, ""))
        }
    }

    impl Read for Engine {
        async fn observe(&self, _: &str) -> Result<Zones, DriverError> {
            let of = |zone| self.zone(zone).0;
            Ok(Zones {
                fetch: of(Zone::Fetch),
                build: of(Zone::Build),
                export: of(Zone::Export),
            })
        }
        async fn output(&self, _: &str, zone: Zone, _: bool) -> Result<Output, DriverError> {
            let text = self.zone(zone).1;
            Ok(Output::new(match text.strip_suffix("<lost>") {
                None => stream::iter([Ok(Bytes::from(text))]).boxed(),
                Some(text) => stream::iter([
                    Ok(Bytes::from(text)),
                    Err(DriverError::Refused {
                        action: "go on".to_owned(),
                        message: "the engine is lost".to_owned(),
                    }),
                ])
                .boxed(),
            }))
        }
    }

    /// A kept log, in a few pieces.
    struct Shelf(&'static str);

    impl Archive for Shelf {
        async fn open(&self, _: &Artifact) -> Result<Pieces, SourceError> {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(self.0.as_bytes()).unwrap();
            let bytes = encoder.finish().unwrap();
            let pieces: Vec<_> = bytes
                .chunks((bytes.len() / 4).max(3))
                .map(Bytes::copy_from_slice)
                .map(Ok)
                .collect();
            Ok(stream::iter(pieces).boxed())
        }
    }

    const EXITED: ZoneState = ZoneState::Exited {
        code: 0,
        by: EndedBy::Itself,
        milliseconds: 0,
    };
    const PATH: &str = "/apis/slipway.dev/v1alpha1/namespaces/n/builds/b";

    fn object(status: &Value) -> Value {
        let digest = format!("sha256:{}", "0".repeat(64));
        let artifact = json!({"repository": "r", "digest": digest});
        json!({"apiVersion": "slipway.dev/v1alpha1", "kind": "Build",
            "metadata": {"name": "b", "namespace": "n", "uid": "u"},
            "spec": {"app": {"name": "a", "uid": "1"}, "revision": "r", "cause": "c", "timeout": "30m",
                "source": {"git": {"url": "https://x/y.git", "commit": "0".repeat(40)}},
                "stack": {"name": "s", "stackName": "s", "buildImage": artifact, "runImage": artifact, "userId": 1}},
            "status": status})
    }

    fn kept() -> Value {
        json!({"phase": "Succeeded", "log": {"repository": "r/n/a", "digest": format!("sha256:{}", "1".repeat(64))}})
    }

    struct Story {
        fake: Fake,
        engine: Arc<Engine>,
        logs: Arc<Logs<Engine, Shelf>>,
        build: Build,
    }

    fn story(engine: Arc<Engine>, shelf: &'static str, status: &Value) -> Story {
        let fake = Fake::default();
        fake.put(PATH, object(status));
        Story {
            logs: Arc::new(Logs::new(
                fake.client(),
                Arc::clone(&engine),
                Shelf(shelf),
                Repositories::new("r", []),
            )),
            build: serde_json::from_value(object(status)).unwrap(),
            fake,
            engine,
        }
    }

    impl Story {
        async fn open(&self, follow: bool, skip: u64) -> Option<Pieces> {
            let opened = Arc::clone(&self.logs).open(self.build.clone(), follow, skip);
            opened.await.unwrap()
        }

        /// What was read, and whether it ended without an error.
        async fn read(&self, follow: bool, skip: u64) -> (String, bool) {
            let mut pieces = self.open(follow, skip).await.unwrap();
            let mut text = String::new();
            while let Some(piece) = soon(pieces.next()).await {
                match piece {
                    Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                    Err(_) => return (text, false),
                }
            }
            (text, true)
        }
    }

    async fn soon<F: Future>(what: F) -> F::Output {
        tokio::time::timeout(Duration::from_secs(20), what)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_kept_log_is_read_whole_and_from_any_position() {
        let story = story(Engine::with(&[]), "fetch\nbuild\n", &kept());
        for follow in [false, true] {
            assert_eq!(
                story.read(follow, 0).await,
                ("fetch\nbuild\n".to_owned(), true)
            );
            assert_eq!(story.read(follow, 6).await, ("build\n".to_owned(), true));
            assert_eq!(story.read(follow, 99).await, (String::new(), true));
        }
    }

    #[tokio::test]
    async fn no_reader_sees_a_report_and_no_position_counts_it() {
        let zones = [
            ("fetch", EXITED, "fetch\n\u{1e}slipway f00d 1/1 {}\n"),
            (
                "build",
                ZoneState::Running,
                "build\n\u{1e}slipway f00d 1/2 {",
            ),
        ];
        let story = story(Engine::with(&zones), "", &json!({"phase": "Building"}));
        let whole = "fetch\nbuild\n".to_owned();
        assert_eq!(story.read(false, 0).await, (whole, true));
        assert_eq!(story.read(false, 6).await, ("build\n".to_owned(), true));
    }

    #[tokio::test]
    async fn what_runs_is_read_as_far_as_it_is() {
        let zones = [
            ("fetch", EXITED, "fetch\n"),
            ("build", ZoneState::Running, "half"),
        ];
        let story = story(Engine::with(&zones), "", &json!({"phase": "Building"}));
        assert_eq!(story.read(false, 0).await, ("fetch\nhalf".to_owned(), true));
        assert_eq!(story.read(false, 8).await, ("lf".to_owned(), true));
    }

    #[tokio::test]
    async fn a_follower_changes_over_to_the_kept_log_without_a_gap_or_a_repetition() {
        let zones = [("fetch", EXITED, "fetch\n")];
        let story = story(
            Engine::with(&zones),
            "fetch\nbuild\nexport\n",
            &json!({"phase": "Fetching"}),
        );
        let mut pieces = story.open(true, 2).await.unwrap();
        let first = soon(pieces.next()).await.unwrap().unwrap();
        assert_eq!(&first[..], b"tch\n");
        // The other zones began and ended unnoticed.
        story.engine.set("fetch", ZoneState::Absent, "");
        story.fake.put(PATH, object(&kept()));
        let mut rest = String::new();
        while let Some(piece) = soon(pieces.next()).await {
            rest.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
        assert_eq!(rest, "build\nexport\n");
    }

    #[tokio::test]
    async fn what_goes_while_it_is_read_is_read_on_in_the_kept_log() {
        let gone = [
            vec![("fetch", EXITED, "fetch\n")],
            // Containers that are seen, but whose output is gone a moment later.
            vec![
                ("fetch", EXITED, "fetch\n"),
                ("build", EXITED, ""),
                ("export", EXITED, ""),
            ],
        ];
        for zones in gone {
            let story = story(
                Engine::with(&zones),
                "fetch\nbuild\nexport\n",
                &json!({"phase": "Exporting"}),
            );
            story.fake.put(PATH, object(&kept()));
            for follow in [false, true] {
                assert_eq!(
                    story.read(follow, 0).await,
                    ("fetch\nbuild\nexport\n".to_owned(), true)
                );
            }
        }
    }

    #[tokio::test]
    async fn a_log_that_expands_to_much_comes_in_small_pieces() {
        let long: &'static str = "all the same\n".repeat(1 << 18).leak();
        let story = story(Engine::with(&[]), long, &kept());
        let mut pieces = story.open(true, 0).await.unwrap();
        let (mut total, mut most) = (0, 0);
        while let Some(piece) = soon(pieces.next()).await {
            let length = piece.unwrap().len();
            (total, most) = (total + length, most.max(length));
        }
        assert_eq!(total, long.len());
        assert!(most <= 64 * 1024, "{most}");
    }

    #[tokio::test]
    async fn a_follower_goes_on_through_the_zones() {
        let story = story(Engine::with(&[]), "", &json!({"phase": "Pending"}));
        let mut pieces = story.open(true, 0).await.unwrap();
        for (zone, text) in [
            ("fetch", "fetch\n"),
            ("build", "build\n"),
            ("export", "export\n"),
        ] {
            story.engine.set(zone, EXITED, text);
            let piece = soon(pieces.next()).await.unwrap().unwrap();
            assert_eq!(&piece[..], text.as_bytes());
        }
        assert!(soon(pieces.next()).await.is_none());
    }

    #[tokio::test]
    async fn an_engine_that_is_lost_is_an_error_and_no_end() {
        let zones = [("fetch", ZoneState::Running, "fe<lost>")];
        let story = story(Engine::with(&zones), "", &json!({"phase": "Fetching"}));
        assert_eq!(story.read(true, 0).await, ("fe".to_owned(), false));
    }

    /// Polls until there is no reason to poll again, as a runtime does, but without its clock and threads.
    fn asked<S: Stream>(reader: &mut Spawn<S>) -> Poll<Option<S::Item>> {
        loop {
            let answer = reader.poll_next();
            if answer.is_ready() || !reader.is_woken() {
                return answer;
            }
        }
    }

    #[test]
    fn no_more_of_a_log_is_held_than_fits_between_work_and_reader() {
        let (mut sender, receiver) = mpsc::channel(1);
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let work = async move {
            loop {
                counter.fetch_add(1, Ordering::SeqCst);
                sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            }
        };
        let mut reader = task::spawn(joined(receiver, work));
        assert_eq!(made.load(Ordering::SeqCst), 0, "nobody reads yet");
        for read in 1..10 {
            assert_ready!(asked(&mut reader));
            let ahead = made.load(Ordering::SeqCst) - read;
            // One that `work` holds, one in the channel, and one more that each sender may put in.
            assert!(ahead <= 3, "{ahead} pieces after {read}");
        }
    }

    #[test]
    fn a_reader_waits_for_the_work_and_is_woken_by_it() {
        let (mut sender, receiver) = mpsc::channel(1);
        let (go, begun) = oneshot::channel();
        let work = async move {
            begun.await.unwrap();
            sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
        };
        let mut reader = task::spawn(joined(receiver, work));
        assert_pending!(asked(&mut reader));
        go.send(()).unwrap();
        assert!(reader.is_woken());
        assert_eq!(assert_ready!(asked(&mut reader)).unwrap().unwrap(), "x");
        assert!(assert_ready!(asked(&mut reader)).is_none());
    }

    #[tokio::test]
    async fn what_went_before_it_was_opened_is_read_in_the_kept_log() {
        let seen = json!({"phase": "Succeeded"});
        let story = story(Engine::with(&[]), "fetch\nbuild\n", &seen);
        story.fake.put(PATH, object(&kept()));
        let whole = ("fetch\nbuild\n".to_owned(), true);
        assert_eq!(story.read(false, 0).await, whole);
    }

    #[tokio::test]
    async fn a_build_that_left_nothing_has_no_log() {
        let story = story(Engine::with(&[]), "", &json!({"phase": "Cancelled"}));
        assert!(story.open(true, 0).await.is_none());
    }

    #[tokio::test]
    async fn a_log_of_another_repository_is_not_read_for_anybody() {
        for repository in ["r/other/a", "r/n/b", "r/n/../other/a", "r"] {
            let log =
                json!({"repository": repository, "digest": format!("sha256:{}", "1".repeat(64))});
            let forged = json!({"phase": "Succeeded", "log": log});
            let story = story(Engine::with(&[]), "what another App's build said", &forged);
            assert!(story.open(true, 0).await.is_none(), "{repository}");
        }
    }
}
