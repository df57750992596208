//! The fetch zone: credentials and addresses → a volume with source, buildpacks, cache and programs.
//!
//! It runs nothing that it downloads. [`super::archive`] unpacks everything that comes from outside, and git runs
//! without configuration, hooks and prompts. Source, cache and the Stack's buildpacks are fetched at the same time.

mod cache;
mod download;
pub mod git;
mod packs;
mod source;
mod volume;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    archive::{ArchiveError, WriteError},
    console::{Console, size},
    disk,
};
use slipway_base::{
    outside::Outside,
    zone::{
        input::FetchInput,
        layout,
        report::{Failure, FetchReport, Timing, exit},
    },
};
use slipway_core::domain::pack_choice::{self, ChosenBy};
use slipway_remotes::{
    registry::{Registry, RegistryError},
    web::{Web, WebError},
};
pub use volume::Volume;

/// Where things are in the fetch zone's container.
#[derive(Clone, Debug)]
pub struct Places {
    /// The volume.
    pub workspace: PathBuf,
    /// The static programs.
    pub programs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            workspace: layout::WORKSPACE.into(),
            programs: layout::PROGRAMS.into(),
        }
    }
}

/// Why the fetch zone failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The git server, or what it sent, cannot be used.
    #[error(transparent)]
    Git(#[from] git::GitError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The certificates in `builds.ca` cannot be read.
    #[error("builds.ca: {0}")]
    Web(#[from] WebError),
    /// A download cannot be unpacked.
    #[error("{what}: {error}")]
    Archive {
        /// The download.
        what: String,
        /// What is wrong with it.
        error: ArchiveError,
    },
    /// The source cannot be stored.
    #[error("cannot store the source: {0}")]
    Store(#[from] WriteError),
    /// The list of buildpacks is not valid.
    #[error(transparent)]
    Choice(#[from] pack_choice::ChoiceError),
    /// The source is not valid.
    #[error("{0}")]
    Source(String),
    /// A buildpack cannot be fetched.
    #[error("buildpack {name}: {message}")]
    Pack {
        /// Its name.
        name: String,
        /// Why not.
        message: String,
        /// Whether another try may help.
        may_pass: bool,
    },
    /// The volume cannot be written.
    #[error("cannot write {path}: {error}")]
    Volume {
        /// The path.
        path: String,
        /// The error.
        error: std::io::Error,
    },
    /// The disk is nearly full.
    #[error(transparent)]
    Disk(#[from] disk::NearlyFull),
    /// A task panicked or was cancelled.
    #[error("a part of fetch ended in an unexpected way: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl FetchError {
    /// The zone's exit code.
    fn code(&self) -> u8 {
        let may_pass = match self {
            Self::Git(error) => error.may_pass(),
            Self::Registry(error) => error.may_pass(),
            Self::Pack { may_pass, .. } => *may_pass,
            // Other builds took the space and may give it back.
            Self::Disk(_) => true,
            Self::Archive { .. }
            | Self::Web(_)
            | Self::Store(_)
            | Self::Choice(_)
            | Self::Source(_)
            | Self::Volume { .. }
            | Self::Task(_) => false,
        };
        if may_pass {
            exit::INTERRUPTED
        } else {
            exit::FETCH
        }
    }
}

/// Fills the volume. Returns the report and the exit code of the zone.
pub async fn run(input: &FetchInput, places: &Places, console: &Console) -> (FetchReport, u8) {
    let mut report = FetchReport::default();
    let work = Box::pin(fetch(input, places, console, &mut report));
    let reserve = input.disk_reserve_bytes;
    let fetched = disk::within("fetch", &places.workspace, reserve, work).await;
    match fetched.map_err(FetchError::from).flatten() {
        Ok(()) => (report, exit::OK),
        Err(error) => {
            let message = error.to_string();
            console.error(&message);
            let code = error.code();
            report.failure = Some(Failure {
                step: "fetch".to_owned(),
                pack: match error {
                    FetchError::Pack { name, .. } => Some(name),
                    _ => None,
                },
                exit_code: None,
                message,
            });
            (report, code)
        }
    }
}

async fn fetch(
    input: &FetchInput,
    places: &Places,
    console: &Console,
    report: &mut FetchReport,
) -> Result<(), FetchError> {
    let volume = Volume::prepare(places)?;
    let registry = Registry::new(&input.registry)?.patient();
    let outside = Outside::new(input.outside.clone());
    let web = Web::new(outside, input.ca_pem.as_deref(), &input.process_env)?;
    // If the App names its buildpacks, only those of the Stack that it names are fetched, later.
    let prefetched = async {
        if input.buildpacks.is_empty() {
            packs::bundled(&registry, &input.stack_packs).await
        } else {
            Ok(packs::Bundled::default())
        }
    };
    let (source, cache, bundled) = futures::join!(
        timed(
            "source",
            source::bring_in(input, &registry, &volume, &web, console)
        ),
        timed("cache", cache::bring_in(input, &registry, &volume)),
        timed("packs", prefetched),
    );
    let ((source, source_time), (cache, cache_time), (bundled, packs_time)) =
        (source, cache, bundled);
    report.timings.extend([source_time, cache_time, packs_time]);
    let source = source?;
    report.source = Some(source.artifact);
    report.app_json.clone_from(&source.app_json);
    match cache {
        Ok(None) => console.detail("There is no cache of an earlier build"),
        Ok(Some(bytes)) => console.detail(&format!(
            "Using the cache of the last build that succeeded ({})",
            size(bytes)
        )),
        Err(error) => {
            console.warning(&format!("The build starts without its cache: {error}"));
            volume.empty(layout::CACHE_DIR)?;
        }
    }

    let names: Vec<String> = input.stack_packs.iter().map(|p| p.name.clone()).collect();
    let choice = pack_choice::choose(
        &input.buildpacks,
        source.app_json.as_deref(),
        source.buildpacks.as_deref(),
        &names,
    )?;
    let listed = || {
        let names: Vec<_> = choice
            .packs
            .iter()
            .map(pack_choice::PackRef::name)
            .collect();
        names.join(", ")
    };
    match choice.by {
        ChosenBy::Spec => console.detail(&format!("Buildpacks as the App asks for: {}", listed())),
        ChosenBy::AppJson => console.detail(&format!("Buildpacks from app.json: {}", listed())),
        ChosenBy::File => console.detail(&format!("Buildpacks from .buildpacks: {}", listed())),
        ChosenBy::Detection => {}
    }
    let (done, time) = timed(
        "packs/unpack",
        packs::bring_in(input, &registry, &volume, &choice, bundled?, &web, console),
    )
    .await;
    report.timings.push(time);
    done?;
    volume.copy_programs(&places.programs)
}

async fn timed<T>(step: &str, work: impl Future<Output = T>) -> (T, Timing) {
    let started = Instant::now();
    let done = work.await;
    let timing = Timing {
        step: step.to_owned(),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    (done, timing)
}

/// Repeats the attempt after failures that may pass, for about a minute.
async fn retry<T, E, F>(
    console: &Console,
    transient: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let mut delay = Duration::from_secs(1);
    loop {
        match attempt().await {
            Err(error) if transient(&error) && delay < Duration::from_secs(32) => {
                console.warning(&format!("{error}; trying again in {} s", delay.as_secs()));
                tokio::time::sleep(delay).await;
                delay *= 2;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FetchError, git::GitError};
    use slipway_base::zone::report::exit;

    #[test]
    fn what_may_pass_by_itself_is_no_fault_of_the_build() {
        let pack = |may_pass| FetchError::Pack {
            name: "p".into(),
            message: "m".into(),
            may_pass,
        };
        let slow = GitError::TooSlow {
            url: "https://h/x.git".into(),
            seconds: 300,
        };
        for error in [FetchError::Git(slow), pack(true)] {
            assert_eq!(error.code(), exit::INTERRUPTED, "{error}");
        }
        let gone = GitError::NoRepository {
            url: "https://h/x.git".into(),
        };
        for error in [FetchError::Git(gone), pack(false)] {
            assert_eq!(error.code(), exit::FETCH, "{error}");
        }
    }
}
