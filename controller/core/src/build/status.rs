//! What happened to a Build → its status. Pure.
//!
//! The App's own code may have written the reports of the build zone: they are cut to size, and never trusted for
//! anything that affects others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    names::{COMMAND_MAX, PROCESS_MAX, PROCESSES_MAX},
    v1alpha1::{
        Artifact, Build, BuildFailure, BuildPhase, BuildStatus, Duration, PackStatus, Timing,
    },
};

use crate::{
    build::{
        next::{Cancel, Ending, Turn},
        zones::{Awaited, EndedBy, Preparing, ZoneState, Zones},
    },
    conditions::Conditions,
};
use slipway_base::{
    text::{self, bounded, last_words, plain::plain},
    zone::{
        Zone, input,
        report::{self, BuildReport, ExportReport, FetchReport, exit},
    },
};

/// Most packs, report entries and steps that are kept. The schema has the same bounds.
const ENTRIES: usize = 64;
/// Most bytes of a text.
const TEXT: usize = 1024;
/// Most notes, and most bytes of one. The schema has the same bounds.
const NOTES: usize = 16;
const NOTE: usize = 512;
/// Most bytes of everything that comes from reports and logs: with its managed fields, the object has to fit into etcd.
const REPORTED: usize = 256 * 1024;

/// What was found on the engine when a Build ended.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The report of fetch.
    pub fetch: FetchReport,
    /// The report of build.
    pub build: BuildReport,
    /// The report of export.
    pub export: ExportReport,
    /// The first zone that ended well without a report.
    pub without_report: Option<Zone>,
    /// How long each zone ran.
    pub zones: Option<Zones>,
    /// The last lines of the zone that ended last.
    pub last_lines: Vec<String>,
    /// Memory limit of this zone, in bytes.
    pub memory_bytes: Option<i64>,
    /// Whether the Build's time limit is the highest that the administrator allows.
    pub at_ceiling: bool,
}

impl Findings {
    /// What the zones' states and reports say; some reports may be missing.
    pub fn reported<'a>(zones: Zones, report: impl Fn(Zone) -> Option<&'a [u8]>) -> Self {
        let fetch = read(report(Zone::Fetch));
        let build = read(report(Zone::Build));
        let export = read(report(Zone::Export));
        let ended_well = |zone| matches!(zones.of(zone), ZoneState::Exited { code: 0, .. });
        let without_report = [
            (Zone::Fetch, fetch.is_none()),
            (Zone::Build, build.is_none()),
            (Zone::Export, export.is_none()),
        ]
        .into_iter()
        .find(|(zone, missing)| *missing && ended_well(*zone));
        Self {
            fetch: fetch.unwrap_or_default(),
            build: build.unwrap_or_default(),
            export: export.unwrap_or_default(),
            without_report: without_report.map(|(zone, _)| zone),
            zones: Some(zones),
            ..Self::default()
        }
    }
}

/// Reads a report. `None` if there is none, or if it cannot be read.
fn read<T: serde::de::DeserializeOwned>(report: Option<&[u8]>) -> Option<T> {
    serde_json::from_slice(report?).ok()
}

/// The Build waits for its turn.
pub fn waiting(build: &Build, turn: &Turn, now: Timestamp) -> BuildStatus {
    let message = match turn {
        Turn::Behind { name, .. } => {
            format!("waits until Build {name} of the same App has ended")
        }
        Turn::NamespaceFull { most } => {
            format!(
                "waits for its turn: as many builds of this namespace run as may at once ({most})"
            )
        }
        Turn::Now | Turn::Queued { .. } => {
            "waits for its turn: as many builds run as may at once".to_owned()
        }
    };
    under_way(build, Reason::BuildQueued, message, now)
}

/// Something that the Build refers to is missing.
pub fn blocked(build: &Build, message: String, now: Timestamp) -> BuildStatus {
    under_way(build, Reason::ReferenceMissing, message, now)
}

/// The engine or the registry is in trouble; the Build continues when that has passed.
pub fn troubled(build: &Build, message: String, now: Timestamp) -> BuildStatus {
    under_way(build, Reason::TemporaryFailure, message, now)
}

/// A zone runs.
pub fn running(build: &Build, zone: Zone, now: Timestamp) -> BuildStatus {
    let (phase, message) = match zone {
        Zone::Fetch => (
            BuildPhase::Fetching,
            "brings in the source, the buildpacks and the cache",
        ),
        Zone::Build => (BuildPhase::Building, "runs the buildpacks"),
        Zone::Export => (BuildPhase::Exporting, "writes the image"),
    };
    let mut status = under_way(build, Reason::BuildRunning, message.to_owned(), now);
    status.phase = phase;
    status.started_at.get_or_insert(Time(whole_second(now)));
    status
}

/// The next zone cannot start yet.
pub fn preparing(build: &Build, preparing: &Preparing, now: Timestamp) -> BuildStatus {
    let (reason, waits, cannot) = match &preparing.awaits {
        Awaited::Image(image) => (
            Reason::PullingImage,
            format!("until the build engine has pulled {image}"),
            format!("the build engine cannot pull {image}"),
        ),
        Awaited::Start => (
            Reason::BuildQueued,
            "until the build engine starts it".to_owned(),
            "the build engine cannot start it".to_owned(),
        ),
    };
    match &preparing.trouble {
        None => under_way(build, reason, format!("waits {waits}"), now),
        Some(trouble) => {
            let trouble = bounded(plain(trouble), TEXT / 2);
            troubled(build, format!("{cannot}: {trouble}; tried again"), now)
        }
    }
}

fn under_way(build: &Build, reason: Reason, message: String, now: Timestamp) -> BuildStatus {
    let mut status = build.status.clone().unwrap_or_default();
    status.observed_generation = build.metadata.generation;
    status.conditions = Conditions::new(&status.conditions, build.metadata.generation, now)
        .set(types::READY, false, reason, message.clone())
        .set(types::RECONCILING, true, reason, message)
        .build();
    status
}

/// The Build is over.
pub fn ended(build: &Build, ending: &Ending, findings: &Findings, now: Timestamp) -> BuildStatus {
    let mut status = build.status.clone().unwrap_or_default();
    let mut budget = Budget(REPORTED);
    let fits = take_reports(&mut status, findings, &mut budget);
    // A pushed source is in the spec.
    status.source = status.source.filter(|_| build.spec.source.push.is_none());
    if let Some(started) = &status.started_at {
        status.seconds = Some(now.duration_since(started.0).as_secs().max(0));
    }
    status.finished_at = Some(Time(whole_second(now)));
    let verdict = match ending {
        Ending::Exported if !fits => unkept(
            build,
            &format!(
                "app.json and the commands of the process types have more than {} KiB together",
                REPORTED / 1024
            ),
        ),
        _ => verdict(build, ending, findings, status.image.as_ref()),
    };
    status.phase = verdict.phase;
    status.failure = verdict.failure.map(|failure| BuildFailure {
        last_lines: budget.last(&findings.last_lines),
        ..failure
    });
    if status.phase != BuildPhase::Succeeded {
        status.image = None;
    }
    let message = if status.phase == BuildPhase::Succeeded {
        success(&status)
    } else {
        verdict.message
    };
    let ready = status.phase == BuildPhase::Succeeded;
    status.observed_generation = build.metadata.generation;
    status.conditions = Conditions::new(&status.conditions, build.metadata.generation, now)
        .set(types::READY, ready, verdict.reason, message.clone())
        .set(types::STALLED, !ready, verdict.reason, message)
        .build();
    status
}

/// Copies what the zones reported into the status. Returns whether everything that a Release is made from has room.
fn take_reports(status: &mut BuildStatus, findings: &Findings, budget: &mut Budget) -> bool {
    let Findings {
        fetch,
        build: compiled,
        export,
        zones,
        ..
    } = findings;
    status.source = fetch.source.as_ref().and_then(artifact);
    status.image = export.image.as_ref().and_then(artifact);
    // Copy what a Release is made from first: without it there can be no Release.
    status.app_json.clone_from(&fetch.app_json);
    status.processes = processes(compiled);
    let fits = budget.take(&(&status.app_json, &status.processes));
    if !fits {
        status.app_json = None;
        status.processes = BTreeMap::new();
    }
    status.notes = notes(compiled, budget);
    status.packs = packs(compiled, budget);
    status.pack_names = (!status.packs.is_empty()).then(|| bounded(names(&status.packs), TEXT));
    status.timings = timings(findings, zones.as_ref().unwrap_or(&Zones::NONE), budget);
    fits
}

/// The Build is over, but the API server refuses its status: what is not essential is left out, and the Build counts as
/// failed.
pub fn refused(build: &Build, ended: BuildStatus, why: &str, now: Timestamp) -> BuildStatus {
    let mut status = BuildStatus {
        packs: Vec::new(),
        notes: Vec::new(),
        timings: Vec::new(),
        processes: BTreeMap::new(),
        app_json: None,
        image: None,
        ..ended
    };
    if let Some(failure) = &mut status.failure {
        failure.last_lines.clear();
    }
    if status.phase == BuildPhase::Succeeded {
        let verdict = unkept(build, why);
        status.phase = verdict.phase;
        status.failure = verdict.failure;
        status.conditions = Conditions::new(&status.conditions, build.metadata.generation, now)
            .set(types::READY, false, verdict.reason, verdict.message.clone())
            .set(types::STALLED, true, verdict.reason, verdict.message)
            .build();
    }
    status
}

fn unkept(build: &Build, why: &str) -> Verdict {
    let message = format!("what the build reported cannot be kept: {why}");
    let failure = BuildFailure {
        step: Zone::Build.as_str().to_owned(),
        message: bounded(plain(&message), TEXT),
        ..BuildFailure::default()
    };
    Verdict::failed(build, Reason::BuildFailed, failure)
}

/// Bytes that are left for text from reports and logs.
struct Budget(usize);

impl Budget {
    /// Takes room for a value, if there is enough. Returns whether there was.
    fn take(&mut self, value: &impl serde::Serialize) -> bool {
        let left = self.0.checked_sub(stored(value));
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// As many of the last lines as have room.
    fn last(&mut self, lines: &[String]) -> Vec<String> {
        let fitting = lines.iter().rev().take_while(|line| self.take(line));
        let from = lines.len() - fitting.count();
        lines.get(from..).unwrap_or_default().to_vec()
    }
}

/// Bytes of a value in etcd: the API server's JSON writes each of these characters with six bytes.
fn stored(value: &impl serde::Serialize) -> usize {
    let json = serde_json::to_string(value).unwrap_or_default();
    let escaped = |c: &char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    let more: usize = json.chars().filter(escaped).map(|c| 6 - c.len_utf8()).sum();
    json.len() + more
}

/// The Build's log is in the registry.
pub fn archived(build: &Build, log: Artifact) -> BuildStatus {
    let mut status = build.status.clone().unwrap_or_default();
    status.log = Some(log);
    status
}

struct Verdict {
    phase: BuildPhase,
    reason: Reason,
    message: String,
    failure: Option<BuildFailure>,
}

impl Verdict {
    fn failed(build: &Build, reason: Reason, failure: BuildFailure) -> Self {
        let failure = BuildFailure {
            message: bounded(failure.message, TEXT),
            ..failure
        };
        let mut circumstances = Vec::new();
        if let Some(pack) = &failure.pack {
            circumstances.push(format!("buildpack {pack}"));
        }
        if let Some(code) = failure.exit_code {
            circumstances.push(format!("exit code {code}"));
        }
        let circumstances = if circumstances.is_empty() {
            String::new()
        } else {
            format!(" ({})", circumstances.join(", "))
        };
        let name = build.metadata.name.as_deref().unwrap_or_default();
        let namespace = build.metadata.namespace.as_deref();
        let at = namespace.map_or_else(String::new, |namespace| format!(" -n {namespace}"));
        Self {
            phase: BuildPhase::Failed,
            reason,
            message: format!(
                "{} failed{circumstances}: {} (the log: slipway logs build {name}{at})",
                failure.step, failure.message
            ),
            failure: Some(failure),
        }
    }
}

/// A failure of which only this message is known.
fn simple(zone: Zone, message: String) -> BuildFailure {
    BuildFailure {
        step: zone.as_str().to_owned(),
        message,
        ..BuildFailure::default()
    }
}

fn timed_out(build: &Build, zone: Zone, findings: &Findings) -> Verdict {
    let message = format!(
        "took longer than its time limit of {}{}",
        build.spec.timeout,
        hindrance(build).unwrap_or_else(|| {
            if findings.at_ceiling {
                ", and no build may take longer here: make it faster, or ask whoever runs Slipway for a higher builds.maxTimeout"
            } else {
                ": raise spec.build.timeout of the App, or make the build faster"
            }
            .to_owned()
        })
    );
    // The zone never began, so neither the Build nor its time limit is to blame.
    let never_began = findings
        .zones
        .as_ref()
        .is_some_and(|zones| matches!(zones.of(zone), ZoneState::Absent | ZoneState::Preparing(_)));
    let reason = if never_began && build.is_for(types::READY, Reason::TemporaryFailure) {
        Reason::BuildInterrupted
    } else {
        Reason::BuildTimedOut
    };
    Verdict::failed(build, reason, simple(zone, message))
}

fn cancelled(cancel: &Cancel) -> Verdict {
    let (reason, message) = match cancel {
        Cancel::Requested => (
            Reason::BuildCancelled,
            "cancelled by the annotation slipway.dev/cancel".to_owned(),
        ),
        Cancel::Superseded { by } => (
            Reason::BuildSuperseded,
            format!("cancelled: Build {by} of the same App is newer"),
        ),
    };
    Verdict {
        phase: BuildPhase::Cancelled,
        reason,
        message,
        failure: None,
    }
}

fn verdict(
    build: &Build,
    ending: &Ending,
    findings: &Findings,
    image: Option<&Artifact>,
) -> Verdict {
    if let (Ending::Exported, Some(zone)) = (ending, findings.without_report) {
        // Without the report it is unknown what the image contains, so it must not be released.
        let message = "ended well, and its report is lost, as happens where an operator of another version had started it: its App has it built again, a few times at the most";
        let failure = simple(zone, message.to_owned());
        return Verdict::failed(build, Reason::BuildInterrupted, failure);
    }
    match ending {
        Ending::Exported if image.is_some() => Verdict {
            phase: BuildPhase::Succeeded,
            reason: Reason::BuildSucceeded,
            message: String::new(),
            failure: None,
        },
        Ending::Exported => {
            let message = "ended well and named no image: a fault of Slipway's, ask for a rebuild";
            Verdict::failed(
                build,
                Reason::BuildFailed,
                simple(Zone::Export, message.to_owned()),
            )
        }
        Ending::Failed { zone, code, by } => {
            // The exit code of the build zone is not trusted for this: the App's own code may have caused it.
            let told = *code == i64::from(exit::INTERRUPTED) && *zone != Zone::Build;
            let reason = match by {
                _ if *code == i64::from(exit::TIMEOUT) => Reason::BuildTimedOut,
                EndedBy::Memory => Reason::OutOfMemory,
                EndedBy::Outside => Reason::BuildInterrupted,
                EndedBy::Itself if told => Reason::BuildInterrupted,
                EndedBy::Itself => Reason::BuildFailed,
            };
            let failure = failure(build, *zone, *code, *by, findings);
            Verdict::failed(build, reason, failure)
        }
        Ending::Lost { zone } => {
            let message = "its container or volume was taken from the build engine: its App has it built again, a few times at the most";
            Verdict::failed(
                build,
                Reason::BuildInterrupted,
                simple(*zone, message.to_owned()),
            )
        }
        Ending::TimedOut { zone } => timed_out(build, *zone, findings),
        Ending::Impossible { zone, message } => {
            Verdict::failed(build, Reason::BuildFailed, simple(*zone, plain(message)))
        }
        Ending::Cancelled(cancel) => cancelled(cancel),
    }
}

/// What blocked a Build when its time ran out, if anything did.
fn hindrance(build: &Build) -> Option<String> {
    let waited = [
        Reason::TemporaryFailure,
        Reason::ReferenceMissing,
        Reason::PullingImage,
    ]
    .into_iter()
    .any(|reason| build.is_for(types::READY, reason));
    waited.then_some(())?;
    let message = &build.condition(types::READY)?.message;
    Some(format!(", and was held up to the end: {message}"))
}

/// What a zone reports about its failure or, without a report, what can be said from outside.
fn failure(build: &Build, zone: Zone, code: i64, by: EndedBy, findings: &Findings) -> BuildFailure {
    let said = match zone {
        Zone::Fetch => &findings.fetch.failure,
        Zone::Build => &findings.build.failure,
        Zone::Export => &findings.export.failure,
    };
    let own_code = i32::try_from(code).ok();
    let mut failure = match said {
        Some(report::Failure {
            step,
            pack,
            exit_code,
            message,
        }) => BuildFailure {
            step: bounded(plain(step), 64),
            pack: pack.as_deref().map(|pack| bounded(plain(pack), TEXT)),
            exit_code: exit_code.or(own_code),
            message: plain(message),
            last_lines: Vec::new(),
        },
        None => BuildFailure {
            step: zone.as_str().to_owned(),
            exit_code: own_code,
            message: if by == EndedBy::Outside {
                "its container was killed from outside, perhaps as the build engine was restarted: its App has it built again, a few times at the most"
            } else {
                "its program ended without a word"
            }
            .to_owned(),
            ..BuildFailure::default()
        },
    };
    if by == EndedBy::Memory {
        failure.message = memory(build, zone, findings.memory_bytes);
    } else if zone == Zone::Build && by == EndedBy::Itself {
        let code = said.as_ref().and_then(|said| said.exit_code);
        failure.message = with_reason(&failure, code, findings);
    }
    failure
}

/// What failed in the build zone, with the cause that the buildpack or its tool printed: whoever reads a status does
/// not see the log.
fn with_reason(failure: &BuildFailure, pack_code: Option<i32>, findings: &Findings) -> String {
    let what = &failure.message;
    let mut packs = findings.build.packs.iter().rev();
    let pack = packs.find(|pack| failure.pack.as_deref() == Some(pack.name.as_str()));
    let detail = pack.and_then(|pack| pack.report.get("failure_detail"));
    let why = last_words::with_detail(
        detail.map_or("", String::as_str),
        &findings.last_lines,
        what,
    );
    match why {
        None => what.clone(),
        // Every message has the exit code of compile anyway.
        Some(why)
            if failure.step == "compile" && pack_code.is_some_and(|c| (1..128).contains(&c)) =>
        {
            why
        }
        Some(why) => format!("{what}: {why}"),
    }
}

fn memory(build: &Build, zone: Zone, bytes: Option<i64>) -> String {
    let own = build
        .spec
        .resources
        .as_ref()
        .and_then(|r| r.limits.as_ref())
        .and_then(|l| l.memory.as_ref());
    match (zone, own, bytes) {
        (Zone::Build, Some(own), _) => format!(
            "killed for want of memory: the limit is {}; raise spec.build.resources.limits.memory of the App",
            own.0
        ),
        (Zone::Build, None, Some(bytes)) => format!(
            "killed for want of memory: the operator's limit is {}; set spec.build.resources.limits.memory of the App",
            human(bytes)
        ),
        (_, _, Some(bytes)) => format!(
            "killed for want of memory: the operator's limit is {}; its administrator can raise it",
            human(bytes)
        ),
        (_, _, None) => "killed for want of memory: the build engine has none left".to_owned(),
    }
}

/// Bytes with a unit, if they are a whole multiple of it.
fn human(bytes: i64) -> String {
    for (unit, size) in [("Gi", 1_i64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes >= size && bytes % size == 0 {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

fn names(packs: &[PackStatus]) -> String {
    let names: Vec<&str> = packs.iter().map(|pack| pack.name.as_str()).collect();
    names.join(", ")
}

fn success(status: &BuildStatus) -> String {
    let packs = status.pack_names.as_ref();
    let with = packs.map_or_else(String::new, |names| format!(" with {names}"));
    let took = status
        .seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(|seconds| format!(" in {}", Duration::from_secs(seconds)))
        .unwrap_or_default();
    let image = status.image.as_ref().map(ToString::to_string);
    format!("built {}{with}{took}", image.unwrap_or_default())
}

/// The time of each whole zone, followed by its steps.
fn timings(findings: &Findings, zones: &Zones, budget: &mut Budget) -> Vec<Timing> {
    let steps = [
        (Zone::Fetch, &findings.fetch.timings),
        (Zone::Build, &findings.build.timings),
        (Zone::Export, &findings.export.timings),
    ];
    let mut timings = Vec::new();
    for (zone, steps) in steps {
        if let ZoneState::Exited { milliseconds, .. } = zones.of(zone) {
            timings.push(Timing {
                step: format!("zone/{}", zone.as_str()),
                milliseconds: i64::try_from(*milliseconds).unwrap_or(i64::MAX),
            });
        }
        let steps = steps.iter().take(ENTRIES).map(|timing| Timing {
            step: bounded(plain(&timing.step), 256),
            milliseconds: i64::try_from(timing.milliseconds).unwrap_or(i64::MAX),
        });
        timings.extend(steps.filter(|timing| budget.take(timing)));
    }
    timings
}

fn packs(built: &BuildReport, budget: &mut Budget) -> Vec<PackStatus> {
    let mut packs: Vec<PackStatus> = built
        .packs
        .iter()
        .take(ENTRIES)
        .map(|pack| {
            let detected = bounded(plain(&pack.detected), TEXT);
            PackStatus {
                name: bounded(plain(&pack.name), TEXT),
                detected: (!detected.is_empty()).then_some(detected),
                digest: bounded(plain(&pack.digest), 256),
                report: BTreeMap::new(),
            }
        })
        .filter(|pack| budget.take(pack))
        .collect();
    // The names of the packs have priority over their reports.
    for (pack, said) in packs.iter_mut().zip(&built.packs) {
        pack.report = entries(&said.report, TEXT);
        pack.report
            .retain(|name, value| budget.take(&(name, value)));
    }
    packs
}

/// Export has already refused what is dropped here, so a Build that succeeds loses nothing.
fn processes(built: &BuildReport) -> BTreeMap<String, String> {
    built
        .processes
        .iter()
        .filter(|(name, command)| {
            !name.is_empty() && name.len() <= PROCESS_MAX && command.len() <= COMMAND_MAX
        })
        .take(PROCESSES_MAX)
        .map(|(name, command)| (name.clone(), command.clone()))
        .collect()
}

fn notes(built: &BuildReport, budget: &mut Budget) -> Vec<String> {
    built
        .notes
        .iter()
        .map(|note| bounded(plain(note), NOTE))
        .filter(|note| !note.is_empty() && budget.take(note))
        .take(NOTES)
        .collect()
}

fn entries(map: &BTreeMap<String, String>, most: usize) -> BTreeMap<String, String> {
    let entries = map.iter().filter(|(name, _)| name.len() <= 256);
    entries
        .take(ENTRIES)
        .map(|(name, value)| (plain(name), text::lines(value, most)))
        .collect()
}

/// An artifact, if the API accepts it.
fn artifact(named: &input::Artifact) -> Option<Artifact> {
    let hex = named.digest.strip_prefix("sha256:")?;
    let valid = hex.len() == 64
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && (1..=255).contains(&named.repository.len());
    valid.then(|| Artifact {
        repository: named.repository.clone(),
        digest: named.digest.clone(),
    })
}

/// Rounded down to the API server's precision.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
