//! Detect and compile: the buildpacks in order → the built app. And the errors of a build that takes too long or
//! too much room.

use std::{collections::BTreeMap, time::Instant};

use crate::builder::{
    Builder,
    child::Ended,
    packs::{Ready, Step},
    stop::Stop,
};
use slipway_base::zone::report::{PackReport, exit};

impl Builder<'_> {
    /// Runs detect and compile. `ran` gets the index of each buildpack whose compile was started.
    pub(super) fn packs(
        &mut self,
        explicit: bool,
        packs: &[Ready],
        ran: &mut Vec<usize>,
    ) -> Result<(), Stop> {
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

    pub(super) fn timed_out(&self, step: &str, pack: &Ready) -> Stop {
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

    pub(super) fn disk_full(&self, step: &str, pack: &Ready) -> Stop {
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
}
