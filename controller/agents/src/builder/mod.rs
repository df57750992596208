//! The build zone: a volume with source, buildpacks and cache → the same volume with the built app, and a report.
//!
//! The builder keeps the buildpack API (detect, compile, release, report, `export`, `ENV_DIR`, `.profile.d`) exactly,
//! and knows no language by name. It runs beside untrusted code. So it has no credentials, and the export zone
//! distrusts everything that it writes. It uses one thread and no network.

mod bounded;
mod child;
mod environment;
mod log;
mod packs;
mod paths;
mod release;
mod source;

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

pub use child::{SESSION, session};
pub use paths::Paths;

use child::{Children, Ended};
use environment::Environment;
use log::Log;
use packs::{Ready, Step};
use release::Released;
use slipway_base::{
    files::procfile,
    text::redact,
    zone::{
        input::BuildInput,
        report::{BuildReport, Failure, MAX_BYTES, PackReport, Timing, exit},
    },
};

/// Most time that `bin/release` and `bin/report` may take.
const SHORT: Duration = Duration::from_secs(15);

/// Why a build ended early.
#[derive(Debug)]
struct Stop {
    code: u8,
    failure: Failure,
}

impl Stop {
    fn new(code: u8, step: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            failure: Failure {
                step: step.to_owned(),
                pack: None,
                exit_code: None,
                message: message.into(),
            },
        }
    }

    fn of_pack(mut self, pack: &str, exit_code: Option<i32>) -> Self {
        self.failure.pack = Some(pack.to_owned());
        self.failure.exit_code = exit_code;
        self
    }

    fn internal(step: &str, what: &str, error: &dyn std::fmt::Display) -> Self {
        Self::new(exit::INTERNAL, step, format!("cannot {what}: {error}"))
    }
}

/// Builds the app below `paths` until `deadline` and logs to `out`. Returns the report and the exit code of the zone.
pub fn build(
    paths: &Paths,
    input: &BuildInput,
    deadline: Instant,
    out: &mut dyn Write,
) -> (BuildReport, u8) {
    let secrets: Vec<&str> = input
        .secret_names
        .iter()
        .filter_map(|name| input.env.get(name))
        .map(String::as_str)
        .collect();
    let mut builder = Builder {
        paths,
        children: Children::new(&paths.builder, &paths.volume, input.disk_reserve_bytes),
        log: Log::new(out, input.log_bytes, &secrets),
        environment: Environment::new(input, paths),
        deadline,
        timeout_seconds: input.timeout_seconds,
        disk_reserve_bytes: input.disk_reserve_bytes,
        report: BuildReport::default(),
    };
    let code = match builder.run(input) {
        Ok(()) => exit::OK,
        Err(stop) => {
            let mut failure = stop.failure;
            failure.message = builder.log.redact(&failure.message);
            builder.log.error(&failure.message);
            builder.report.failure = Some(failure);
            stop.code
        }
    };
    builder.log.close();
    (builder.report, code)
}

/// The report as JSON. Instead of one that is too long, which nobody reads, a report that says so: the build fails, with
/// the exit code and the message of its own failure if it had one.
pub fn bounded(report: BuildReport, code: u8) -> serde_json::Result<(String, u8)> {
    let text = serde_json::to_string(&report)?;
    if text.len() <= MAX_BYTES {
        return Ok((text, code));
    }
    let stop = Stop::new(
        exit::RELEASE,
        "release",
        format!(
            "what the buildpacks report of the build has {} bytes, and may have at most {MAX_BYTES}",
            text.len()
        ),
    );
    let code = if code == exit::OK { stop.code } else { code };
    let failure = Some(report.failure.unwrap_or(stop.failure));
    let short = BuildReport {
        failure,
        ..BuildReport::default()
    };
    Ok((serde_json::to_string(&short)?, code))
}

struct Builder<'a> {
    paths: &'a Paths,
    children: Children,
    log: Log<'a>,
    environment: Environment,
    deadline: Instant,
    timeout_seconds: u64,
    disk_reserve_bytes: u64,
    report: BuildReport,
}

impl Builder<'_> {
    fn run(&mut self, input: &BuildInput) -> Result<(), Stop> {
        let notes = source::prepare(&self.paths.build_dir(), &mut self.log)
            .map_err(|error| Stop::new(exit::INTERNAL, "detect", error.to_string()))?;
        for note in notes {
            self.note(&note);
        }
        for name in environment::write_env_dir(&self.paths.env_dir, &input.env)
            .map_err(|error| Stop::internal("detect", "write ENV_DIR", &error))?
        {
            self.log.warning(&format!(
                "{name:?} is no name of a variable: buildpacks do not see it"
            ));
        }
        self.tell_of_short_secrets(input);
        let (explicit, packs) = packs::read(self.paths)?;
        let mut ran = vec![];
        let built = self.packs(explicit, &packs, &mut ran);
        // Reports are also read after a failure: buildpacks say there why they failed.
        self.ask_for_reports(&packs, &ran);
        built?;
        let last = ran.last().and_then(|index| packs.get(*index));
        let released = match last {
            Some(pack) => self.release(pack)?,
            None => Released::default(),
        };
        self.process_types(&released)?;
        self.config_vars(released.config_vars);
        Ok(())
    }

    fn tell_of_short_secrets(&mut self, input: &BuildInput) {
        let value = |name: &&String| input.env.get(*name).map(String::as_str);
        let short = |name: &&String| value(name).is_some_and(redact::is_short);
        let names: Vec<&str> = input
            .secret_names
            .iter()
            .filter(short)
            .map(String::as_str)
            .collect();
        if !names.is_empty() {
            let said = redact::of_short("this log", &names.join(", "));
            self.log.warning(&said);
        }
    }

    /// Runs detect and compile. `ran` gets the index of each buildpack whose compile was started.
    fn packs(&mut self, explicit: bool, packs: &[Ready], ran: &mut Vec<usize>) -> Result<(), Stop> {
        if explicit {
            for (index, pack) in packs.iter().enumerate() {
                let started = Instant::now();
                let detected = self.must_detect(pack)?;
                self.timing(format!("detect/{}", pack.name), started);
                ran.push(index);
                let last = index + 1 == packs.len();
                self.compile(pack, &detected, last)?;
            }
            return Ok(());
        }
        let started = Instant::now();
        let (index, pack, detected) = self.first_that_accepts(packs)?;
        self.timing("detect".to_owned(), started);
        ran.push(index);
        self.compile(pack, &detected, true)
    }

    fn compile(&mut self, pack: &Ready, detected: &str, last: bool) -> Result<(), Stop> {
        self.log.heading(&format!("{detected} app detected"));
        self.report.packs.push(PackReport {
            name: pack.name.clone(),
            detected: self.log.redact(detected),
            digest: pack.digest.clone(),
            report: BTreeMap::new(),
        });
        let started = Instant::now();
        let result = self.run_pack(pack, Step::Compile, self.deadline);
        self.timing(format!("compile/{}", pack.name), started);
        let ended = result.map_err(|error| {
            Stop::new(
                exit::COMPILE,
                "compile",
                format!(
                    "bin/compile of buildpack {} cannot be started: {error}",
                    pack.name
                ),
            )
            .of_pack(&pack.name, None)
        })?;
        match ended {
            Ended::Code(0) => {}
            Ended::TimedOut => return Err(self.timed_out("compile", pack)),
            Ended::DiskFull => return Err(self.disk_full("compile", pack)),
            ended => {
                return Err(Stop::new(
                    exit::COMPILE,
                    "compile",
                    format!(
                        "buildpack {} failed to compile the {detected} app ({ended})",
                        pack.name
                    ),
                )
                .of_pack(&pack.name, ended.code()));
            }
        }
        if last {
            return Ok(());
        }
        self.take_exports(pack)
    }

    fn timed_out(&self, step: &str, pack: &Ready) -> Stop {
        Stop::new(
            exit::TIMEOUT,
            step,
            format!(
                "the build took longer than its limit of {} s and was stopped in {step} of buildpack {}; spec.build.timeout sets the limit",
                self.timeout_seconds, pack.name
            ),
        )
        .of_pack(&pack.name, None)
    }

    fn disk_full(&self, step: &str, pack: &Ready) -> Stop {
        Stop::new(
            exit::DISK,
            step,
            format!(
                "the build engine's disk is nearly full, and the build was stopped in {step} of buildpack {} before it filled it: less than {} MB are left; install less, or ask the administrator for room",
                pack.name,
                self.disk_reserve_bytes / 1_000_000
            ),
        )
        .of_pack(&pack.name, None)
    }

    fn release(&mut self, pack: &Ready) -> Result<Released, Stop> {
        if !pack.has("release") {
            return Ok(Released::default());
        }
        let started = Instant::now();
        let deadline = self.deadline.min(started + SHORT);
        let mut text = Vec::new();
        let result = self.capture(pack, Step::Release, deadline, &mut text);
        self.timing("release".to_owned(), started);
        let stop = |message: String, code| {
            Stop::new(exit::RELEASE, "release", message).of_pack(&pack.name, code)
        };
        match result {
            Err(error) => Err(stop(
                format!(
                    "bin/release of buildpack {} cannot be started: {error}",
                    pack.name
                ),
                None,
            )),
            Ok(Ended::TimedOut) if Instant::now() >= self.deadline => {
                Err(self.timed_out("release", pack))
            }
            Ok(Ended::DiskFull) => Err(self.disk_full("release", pack)),
            Ok(Ended::Code(0)) => release::parse(&text).map_err(|message| {
                stop(
                    format!(
                        "bin/release of buildpack {} wrote what is no release YAML: {message}",
                        pack.name
                    ),
                    Some(0),
                )
            }),
            Ok(ended) => Err(stop(
                format!("bin/release of buildpack {} failed ({ended})", pack.name),
                ended.code(),
            )),
        }
    }

    /// Asks each buildpack for a report on its own work. A buildpack that has none, or fails to give it, does not fail
    /// the build.
    fn ask_for_reports(&mut self, packs: &[Ready], ran: &[usize]) {
        let started = Instant::now();
        let asked: Vec<(usize, &Ready)> = ran
            .iter()
            .enumerate()
            .filter_map(|(place, index)| Some((place, packs.get(*index)?)))
            .filter(|(_, pack)| pack.has("report"))
            .collect();
        if asked.is_empty() {
            return;
        }
        for (place, pack) in asked {
            let mut text = Vec::new();
            let result = self.capture(pack, Step::Report, Instant::now() + SHORT, &mut text);
            if !matches!(result, Ok(Ended::Code(0))) {
                continue;
            }
            let map = release::flat_map(&text);
            let map = map
                .into_iter()
                .map(|(key, value)| (key, self.log.redact(&value)))
                .collect();
            if let Some(report) = self.report.packs.get_mut(place) {
                report.report = map;
            }
        }
        self.timing("report".to_owned(), started);
    }

    fn process_types(&mut self, released: &Released) -> Result<(), Stop> {
        self.log.heading("Discovering process types");
        let stop = |message: String| Stop::new(exit::RELEASE, "release", message);
        let file = source::read_procfile(&self.paths.build_dir()).map_err(stop)?;
        if let Some(note) = &file.note {
            self.note(note);
        }
        let declared = match &file.text {
            None => procfile::Declared::default(),
            Some(text) => procfile::parse(text).map_err(|error| stop(error.to_string()))?,
        };
        if file.text.is_some() && declared.is_empty() {
            self.log
                .warning("The Procfile declares nothing: the buildpack's defaults hold");
        }
        for note in &declared.left_out {
            self.note(note);
        }
        let merged = procfile::merge(&declared, &released.processes);
        if !merged.declared.is_empty() {
            self.log.detail(&format!(
                "Procfile declares types     -> {}",
                merged.declared.join(", ")
            ));
        }
        if !merged.defaults.is_empty() {
            self.log.detail(&format!(
                "Default types for buildpack -> {}",
                merged.defaults.join(", ")
            ));
        }
        if merged.without_web {
            self.log
                .detail("The Procfile declares no web: the buildpack's default is left out");
        }
        for (name, why) in &merged.refused {
            self.log.warning(&format!(
                "The buildpack's process type {name:?} {why}: left out"
            ));
        }
        if merged.processes.is_empty() {
            self.log.warning(
                "No process types found: write a Procfile, or set commands in spec.processes",
            );
        }
        for (name, command) in &merged.processes {
            if self.log.has_leaked(command) {
                return Err(Stop::new(
                    exit::RELEASE,
                    "release",
                    format!(
                        "the command of process type {name} holds the value of a Secret, which everybody could read in the image: let it read the variable from its environment instead"
                    ),
                ));
            }
        }
        self.report.processes = merged.processes;
        Ok(())
    }

    /// Takes the last buildpack's `config_vars` into the image's environment. Leaves out variables that the platform
    /// sets itself, and values that hold a secret.
    fn config_vars(&mut self, vars: BTreeMap<String, String>) {
        const OURS: [&str; 6] = ["PATH", "HOME", "STACK", "PORT", "DYNO", "SLIPWAY"];
        for (name, value) in vars {
            if OURS.contains(&name.as_str()) || !environment::is_name(&name) {
                self.log.warning(&format!(
                    "The buildpack's config var {name:?} is left out: the platform sets it, or it is no name"
                ));
            } else if self.log.has_leaked(&value) {
                self.log.warning(&format!(
                    "The buildpack's config var {name} is left out: it holds a secret"
                ));
            } else {
                // In the pod, a variable of the App overrides this one; a variable for builds only does not.
                self.report.config_vars.insert(name, value);
            }
        }
    }

    /// Logs a warning that is also shown on the App.
    fn note(&mut self, text: &str) {
        self.log.warning(text);
        let note = self.log.redact(text);
        self.report.notes.push(note);
    }

    fn timing(&mut self, step: String, started: Instant) {
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.timings.push(Timing { step, milliseconds });
    }
}

/// Reads a file of at most `limit` bytes; `None` if there is no regular file. Never waits for a pipe in the file's
/// place.
fn read_bounded(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!(
            "it is larger than {limit} bytes"
        )));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::bounded;
    use slipway_base::zone::report::{BuildReport, Failure, MAX_BYTES, exit};

    #[test]
    fn a_report_that_is_too_long_becomes_one_that_says_so() {
        let report = |bytes, failure| BuildReport {
            notes: vec!["x".repeat(bytes)],
            failure,
            ..BuildReport::default()
        };
        let read = |text: &str| serde_json::from_str::<BuildReport>(text).unwrap();
        let (text, code) = bounded(report(9, None), exit::OK).unwrap();
        assert_eq!((read(&text), code), (report(9, None), exit::OK));

        let (text, code) = bounded(report(MAX_BYTES, None), exit::OK).unwrap();
        let said = read(&text).failure.unwrap();
        assert_eq!((said.step.as_str(), code), ("release", exit::RELEASE));
        assert!(
            said.message.contains("may have at most 1048576"),
            "{said:?}"
        );

        let own = Failure {
            step: "compile".into(),
            pack: None,
            exit_code: Some(3),
            message: "no such version".into(),
        };
        let long = report(MAX_BYTES, Some(own.clone()));
        let (text, code) = bounded(long, exit::COMPILE).unwrap();
        assert_eq!((read(&text).failure, code), (Some(own), exit::COMPILE));
    }
}
