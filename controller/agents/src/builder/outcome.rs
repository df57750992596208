//! After compile: what buildpacks and Procfile say → process types and config vars of the image, and the buildpacks'
//! reports.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::builder::{
    Builder,
    child::Ended,
    environment,
    packs::{Ready, Step},
    release::{self, Released},
    source,
    stop::Stop,
};
use slipway_base::{files::procfile, zone::report::exit};

/// Most time that `bin/release` and `bin/report` may take.
const SHORT: Duration = Duration::from_secs(15);

impl Builder<'_> {
    pub(super) fn release(&mut self, pack: &Ready) -> Result<Released, Stop> {
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
    pub(super) fn ask_for_reports(&mut self, packs: &[Ready], ran: &[usize]) {
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

    pub(super) fn process_types(&mut self, released: &Released) -> Result<(), Stop> {
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
    pub(super) fn config_vars(&mut self, vars: BTreeMap<String, String>) {
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
}
