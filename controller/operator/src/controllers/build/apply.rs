//! A [`Step`] → calls to the engine, the registry and the API server. Its only decisions are about calls that fail.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, core::DeserializeGuard};
use slipway_crds::v1alpha1::{Artifact, Build, BuildPhase, Revision, RevisionStatus};
use tokio::time::timeout;

use crate::controllers::{
    build::{
        BuildError, Builds,
        inputs::{self, InputError},
        lock, reason,
    },
    chain,
    reconcile::Outcome,
};
use slipway_base::zone::Zone;
use slipway_core::{
    build::{
        mark::mark,
        next::{Ending, Observed, Step, Turn, began, look_after},
        plan::{self, BuildPlan},
        status::{self, Findings},
        zones::{ZoneState, Zones},
    },
    records,
};
use slipway_driver::{
    archive,
    contract::{Driver, DriverError},
    log::{self, Tail},
};
use slipway_k8s::{FieldManager, apply::status::patch_status, classify::found};
use slipway_telemetry::meters::{BuildResult, BuildTimes};

/// How often a waiting Build checks whether its turn has come, in case a call to it was missed.
const WAIT: Duration = Duration::from_mins(1);

/// How long fetch waits at most until the way out of the build zone is ready.
const OPEN: Duration = Duration::from_secs(30);

/// How often a Build checks whether its log may be stored.
const ARCHIVE: Duration = Duration::from_secs(1);

impl<D: Driver> Builds<D> {
    /// Does what comes next.
    pub(super) async fn apply(
        &self,
        build: &Build,
        observed: &Observed,
        step: Step,
    ) -> Result<Outcome, BuildError> {
        let now = observed.now;
        match step {
            Step::Rest => {
                self.leave(uid(build));
                if lock(&self.untidy).contains(uid(build)) {
                    self.tidy(uid(build)).await?;
                }
                Ok(Outcome::Done)
            }
            Step::Remove => {
                self.driver.remove(uid(build)).await?;
                self.leave(uid(build));
                Ok(Outcome::Done)
            }
            Step::Wait(turn) => self.wait(build, &turn, now).await,
            Step::Start(zone) => self.start(build, observed, zone).await,
            Step::Watch(zone) => {
                self.note_running(build);
                let build = self.write(build, status::running(build, zone, now)).await?;
                Ok(Outcome::After(look_after(&build, zone, now)))
            }
            Step::End(ending) => self.end(build, &ending, now).await,
            Step::Archive { give_up } => self.archive(build, give_up).await,
        }
    }

    async fn wait(
        &self,
        build: &Build,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Outcome, BuildError> {
        self.write(build, status::waiting(build, turn, now)).await?;
        if let Turn::Behind { uid, .. } = turn {
            // That Build may not know yet that a newer one supersedes it.
            self.call(uid);
        }
        Ok(Outcome::After(WAIT))
    }

    async fn start(
        &self,
        build: &Build,
        observed: &Observed,
        zone: Zone,
    ) -> Result<Outcome, BuildError> {
        let now = observed.now;
        let impossible = |message: String| Ending::Impossible { zone, message };
        let plan = match self.plan(build, began(build).unwrap_or(now)).await? {
            Ok(plan) => plan,
            Err(message) => return self.end(build, &impossible(message), now).await,
        };
        let mut build = build.clone();
        if zone == Zone::Fetch {
            if !self.enter(&build) {
                return self.wait(&build, &Turn::Queued { ahead: 0 }, now).await;
            }
            // This is written before the engine is asked: the time limit counts from here, even if this process is
            // killed. The message of a failed attempt stays until an attempt succeeds.
            if began(&build).is_none() {
                build = self
                    .write(&build, status::running(&build, zone, now))
                    .await?;
            }
        }
        let Some(zone_plan) = plan.zone(zone) else {
            return self
                .end(&build, &impossible("it is not planned".to_owned()), now)
                .await;
        };
        let open = async {
            if zone == Zone::Fetch {
                self.open(&plan).await;
            }
        };
        let (started, ()) = futures::join!(self.driver.start(&plan, zone_plan), open);
        let started = match started {
            Ok(started) => started,
            Err(error @ DriverError::Refused { .. }) => {
                return self.end(&build, &impossible(error.to_string()), now).await;
            }
            Err(error) => return Err(error.into()),
        };
        // Meanwhile the Build may have been deleted: making and starting a container takes a while.
        if self.current(&build).await?.is_none() {
            return Err(BuildError::Gone);
        }
        let now = (self.clock)();
        let status = match &started {
            ZoneState::Preparing(preparing) => status::preparing(&build, preparing, now),
            ZoneState::Absent | ZoneState::Running | ZoneState::Exited { .. } => {
                status::running(&build, zone, now)
            }
        };
        let build = self.write(&build, status).await?;
        Ok(Outcome::After(look_after(&build, zone, now)))
    }

    /// The plan of a Build that started at this time, or why there can be none.
    async fn plan(
        &self,
        build: &Build,
        since: Timestamp,
    ) -> Result<Result<BuildPlan, String>, BuildError> {
        let repositories = self.settings.registry.repositories();
        let inputs = match inputs::resolve(&self.client, build, &repositories).await {
            Ok(inputs) => inputs,
            Err(InputError::Foreign(message)) => return Ok(Err(message)),
            Err(error) => return Err(error.into()),
        };
        let plan = plan::plan(build, &self.settings, &self.key, &inputs, since);
        Ok(plan.map_err(|error| error.to_string()))
    }

    /// Opens the build zone's way out, limited in time: fetch runs next and does not need it. If this fails, the start
    /// of the build zone makes it or reports the error.
    async fn open(&self, plan: &BuildPlan) {
        match timeout(OPEN, self.driver.open(plan)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the build's way out is not open yet");
            }
            Err(_) => tracing::warn!(after = ?OPEN, "the build's way out is not open yet"),
        }
    }

    async fn end(
        &self,
        build: &Build,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<Outcome, BuildError> {
        if matches!(ending, Ending::TimedOut { .. } | Ending::Cancelled(_)) {
            self.driver.stop(uid(build)).await?;
        }
        let findings = self.findings(build, ending).await?;
        if findings.zones.as_ref().is_none_or(|z| last(z).is_none()) {
            // Nothing ran and there is no log, but there may be a volume.
            self.driver.remove(uid(build)).await?;
        }
        let status = status::ended(build, ending, &findings, now);
        if let Some(source) = &status.source {
            self.remember_source(build, source).await?;
        }
        let written = match self.write(build, status.clone()).await {
            // If its end could not be written, the Build would keep its place for ever.
            Err(error) if error.is_refusal() => {
                let status = status::refused(build, status, &chain(&error), now);
                self.write(build, status).await?
            }
            other => other?,
        };
        let status = written.status.clone().unwrap_or_default();
        let result = match status.phase {
            BuildPhase::Succeeded => BuildResult::Succeeded,
            BuildPhase::Cancelled => BuildResult::Cancelled,
            _ => BuildResult::Failed,
        };
        let created = build.metadata.creation_timestamp.as_ref();
        let times = status.started_at.as_ref().map(|started| BuildTimes {
            queued: created.map_or(Duration::ZERO, |created| between(created.0, started.0)),
            took: between(started.0, now),
        });
        self.meters.ended(result, reason(&written), times);
        self.note_over(uid(build));
        // An engine has few networks, so this one is removed now, and not with the log, which may wait long for the
        // registry. The image is already announced. If this fails, the network is removed with the containers.
        if let Err(error) = self.driver.close(uid(build)).await {
            tracing::warn!(error = chain(&error), "the build's network stays for now");
        }
        // The next reconcile stores the log and removes the containers.
        Ok(Outcome::After(Duration::ZERO))
    }

    /// What the zones that ended left behind.
    async fn findings(&self, build: &Build, ending: &Ending) -> Result<Findings, BuildError> {
        let uid = uid(build);
        let zones = self.driver.observe(uid).await?;
        let left = async |zone: Zone| match zones.of(zone) {
            ZoneState::Exited { .. } => self.left_by(uid, zone).await,
            _ => Ok((None, Vec::new())),
        };
        let ((fetch, fetch_lines), (compile, build_lines), (export, export_lines)) =
            futures::try_join!(left(Zone::Fetch), left(Zone::Build), left(Zone::Export))?;
        let last = last(&zones);
        let last_lines = match (ending, last) {
            (Ending::Exported | Ending::Cancelled(_), _) | (_, None) => Vec::new(),
            (_, Some(Zone::Fetch)) => fetch_lines,
            (_, Some(Zone::Build)) => build_lines,
            (_, Some(Zone::Export)) => export_lines,
        };
        let own = plan::limits(build, &self.settings).map(|limits| limits.memory_bytes);
        let reported = Findings::reported(zones, |zone| match zone {
            Zone::Fetch => fetch.as_deref(),
            Zone::Build => compile.as_deref(),
            Zone::Export => export.as_deref(),
        });
        Ok(Findings {
            last_lines,
            at_ceiling: build.spec.timeout.get() >= self.settings.builds.ceilings().timeout.get(),
            memory_bytes: match last {
                Some(Zone::Build) => own.unwrap_or(self.settings.builds.memory_bytes()),
                _ => self.settings.builds.memory_bytes(),
            },
            ..reported
        })
    }

    /// Report and last lines of a zone that has ended.
    async fn left_by(
        &self,
        uid: &str,
        zone: Zone,
    ) -> Result<(Option<Vec<u8>>, Vec<String>), DriverError> {
        let output = self.driver.output(uid, zone, false).await?;
        let mut tail = Tail::default();
        let report = output.report(mark(&self.key, uid, zone), |bytes| tail.push(bytes));
        let report = report.await?;
        Ok((report, tail.finish()))
    }

    /// Records in the Revision that its source is in the registry, so that later Builds need no git server.
    async fn remember_source(&self, build: &Build, source: &Artifact) -> Result<(), BuildError> {
        let api: Api<Revision> = self.api(build);
        let name = &build.spec.revision;
        let guarded: Api<DeserializeGuard<Revision>> = self.api(build);
        let revision = found(guarded.get(name).await).map_err(BuildError::read)?;
        // A Revision that belongs to another App, or cannot be read, is not changed.
        let Some(DeserializeGuard(Ok(revision))) = revision else {
            return Ok(());
        };
        if records::owned(&revision).is_err() || revision.spec.app != build.spec.app {
            return Ok(());
        }
        let known = revision.status.as_ref();
        let known = known.and_then(|status| status.artifact.clone());
        let of = |artifact: Option<Artifact>| RevisionStatus { artifact };
        patch_status(
            &api,
            FieldManager::Build,
            &revision,
            &of(Some(source.clone())),
            Some(&of(known)),
        )
        .await?;
        Ok(())
    }

    async fn archive(&self, build: &Build, give_up: bool) -> Result<Outcome, BuildError> {
        let uid = uid(build);
        self.leave(uid);
        if give_up {
            tracing::warn!("the log could not be stored for an hour; it goes with its containers");
        } else {
            // A Build that waits for this does not occupy a reconcile.
            let Ok(_one) = self.archives.try_acquire() else {
                return Ok(Outcome::After(ARCHIVE));
            };
            let most = self.settings.builds.log_bytes;
            let log = log::whole(&*self.driver, uid, most).await?;
            let namespace = build.metadata.namespace.as_deref().unwrap_or_default();
            let app = &build.spec.app;
            let repositories = self.settings.registry.repositories();
            let repository = repositories.of_app(namespace, &app.name);
            let tag = plan::log_tag(&app.uid, uid);
            let stored = archive::store(&self.registry, &repository, &tag, log).await?;
            let log = Artifact {
                repository: stored.repository,
                digest: stored.digest,
            };
            self.write(build, status::archived(build, log)).await?;
        }
        self.tidy(uid).await?;
        Ok(Outcome::Done)
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The last zone that ran.
fn last(zones: &Zones) -> Option<Zone> {
    [Zone::Export, Zone::Build, Zone::Fetch]
        .into_iter()
        .find(|zone| matches!(zones.of(*zone), ZoneState::Exited { .. }))
}

pub(super) fn uid(build: &Build) -> &str {
    build.metadata.uid.as_deref().unwrap_or_default()
}
