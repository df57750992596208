//! The fetch zone: credentials and addresses → a volume with source, buildpacks, cache and programs.
//!
//! It runs nothing that it downloads. [`super::archive`] unpacks everything that comes from outside, and git runs
//! without configuration, hooks and prompts. Source, cache and the Stack's buildpacks are fetched at the same time.

mod cache;
mod download;
mod error;
pub mod git;
mod packs;
mod source;
mod volume;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    console::{Console, size},
    disk,
};
pub use error::FetchError;
use slipway_base::{
    outside::Outside,
    zone::{
        input::FetchInput,
        layout,
        report::{Failure, FetchReport, Timing, exit},
    },
};
use slipway_core::domain::pack_choice::{self, Choice, ChosenBy};
use slipway_remotes::{registry::Registry, web::Web};
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
    tell_of_cache(cache, &volume, console)?;
    let choice = choose(
        input,
        source.app_json.as_deref(),
        source.buildpacks.as_deref(),
        console,
    )?;
    let (done, time) = timed(
        "packs/unpack",
        packs::bring_in(input, &registry, &volume, &choice, bundled?, &web, console),
    )
    .await;
    report.timings.push(time);
    done?;
    volume.copy_programs(&places.programs)
}

/// Says whether the build has a cache. Without one it is only slower.
fn tell_of_cache(
    fetched: Result<Option<u64>, FetchError>,
    volume: &Volume,
    console: &Console,
) -> Result<(), FetchError> {
    match fetched {
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
    Ok(())
}

/// Chooses the buildpacks from what the App, its `app.json` and its file `.buildpacks` say, and says which of them
/// named them.
fn choose(
    input: &FetchInput,
    app_json: Option<&str>,
    file: Option<&str>,
    console: &Console,
) -> Result<Choice, FetchError> {
    let stack: Vec<String> = input.stack_packs.iter().map(|p| p.name.clone()).collect();
    let choice = pack_choice::choose(&input.buildpacks, app_json, file, &stack)?;
    let named_by = match choice.by {
        ChosenBy::Spec => "as the App asks for",
        ChosenBy::AppJson => "from app.json",
        ChosenBy::File => "from .buildpacks",
        ChosenBy::Detection => return Ok(choice),
    };
    let names: Vec<_> = choice
        .packs
        .iter()
        .map(pack_choice::PackRef::name)
        .collect();
    console.detail(&format!("Buildpacks {named_by}: {}", names.join(", ")));
    Ok(choice)
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
