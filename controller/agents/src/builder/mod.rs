//! The build zone: a volume with source, buildpacks and cache → the same volume with the built app, and a report.
//!
//! The builder keeps the buildpack API (detect, compile, release, report, `export`, `ENV_DIR`, `.profile.d`) exactly,
//! and knows no language by name. It runs beside untrusted code. So it has no credentials, and the export zone
//! distrusts everything that it writes. It uses one thread and no network.

mod bounded;
mod child;
mod compile;
mod environment;
mod log;
mod outcome;
mod packs;
mod paths;
mod release;
mod source;
mod stop;

use std::{io::Write, path::Path, time::Instant};

pub use child::{SESSION, session};
pub use paths::Paths;

use child::Children;
use environment::Environment;
use log::Log;
use release::Released;
use slipway_base::{
    text::redact,
    zone::{
        input::BuildInput,
        report::{BuildReport, MAX_BYTES, Timing, exit},
    },
};
use stop::Stop;

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
