//! Asks buildpacks whether they accept the source → the one that compiles it.

use std::{fs, time::Instant};

use crate::builder::{
    Builder,
    child::{Ended, Pipe, Program, Stderr},
    packs::{DETECT, Ready, Step, run::keep},
    stop::Stop,
};
use slipway_base::zone::report::exit;

/// A buildpack's answer to `bin/detect`.
struct Detected {
    ended: Ended,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Builder<'_> {
    fn detect(&mut self, pack: &Ready) -> Result<Detected, Stop> {
        let env = self.environment.base();
        let path = pack.program(Step::Detect.program());
        let program = Program {
            path: &path,
            args: Step::Detect.args(self.paths),
            env: &env,
            cwd: &self.paths.build_dir(),
            stderr: Stderr::Apart,
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let deadline = self.deadline.min(Instant::now() + DETECT);
        let ended = self
            .children
            .run(&program, deadline, &mut |from, bytes| match from {
                Pipe::Output => keep(&mut output, bytes),
                Pipe::Error => keep(&mut errors, bytes),
            })
            .map_err(|error| {
                Stop::internal("detect", "start a buildpack's bin/detect", &error)
                    .of_pack(&pack.name, None)
            })?;
        if ended == Ended::TimedOut && Instant::now() >= self.deadline {
            return Err(self.timed_out("detect", pack));
        }
        if ended == Ended::DiskFull {
            return Err(self.disk_full("detect", pack));
        }
        Ok(Detected {
            ended,
            output,
            errors,
        })
    }

    /// Runs detect of a buildpack that the App or its source names. If it does not accept the source, its output is
    /// shown and the build fails.
    pub(in crate::builder) fn must_detect(&mut self, pack: &Ready) -> Result<String, Stop> {
        let detected = self.detect(pack)?;
        if detected.ended == Ended::Code(0) {
            return Ok(display_name(&detected.output, pack));
        }
        for text in [&detected.output, &detected.errors] {
            self.log.output(text);
            self.log.finish_output();
        }
        let message = format!(
            "buildpack {} was asked for, but does not accept this source ({})",
            pack.name, detected.ended
        );
        Err(Stop::new(exit::DETECT, "detect", message).of_pack(&pack.name, detected.ended.code()))
    }

    /// Runs detect of every buildpack in order. The first one that accepts is used; if several accept, the log names
    /// them all.
    pub(in crate::builder) fn first_that_accepts<'p>(
        &mut self,
        packs: &'p [Ready],
    ) -> Result<(usize, &'p Ready, String), Stop> {
        let mut accepting = vec![];
        for (index, pack) in packs.iter().enumerate() {
            let detected = self.detect(pack)?;
            if detected.ended == Ended::Code(0) {
                accepting.push((index, pack, display_name(&detected.output, pack)));
            }
        }
        if accepting.len() > 1 {
            let names: Vec<_> = accepting.iter().map(|(_, p, _)| p.name.as_str()).collect();
            self.log.warning(
                "Several buildpacks accept this source; the first one is taken. spec.build.buildpacks chooses others.",
            );
            self.log
                .detail(&format!("Detected buildpacks: {}", names.join(" ")));
        }
        accepting.into_iter().next().ok_or_else(|| {
            let asked: Vec<_> = packs.iter().map(|pack| pack.name.as_str()).collect();
            Stop::new(
                exit::DETECT,
                "detect",
                format!(
                    "no buildpack accepts this source (asked: {}); the root of the source has {}. Put the app at the root or set source.git.subPath, or name a buildpack in spec.build.buildpacks",
                    asked.join(", "),
                    self.top_of_source()
                ),
            )
        })
    }

    fn top_of_source(&self) -> String {
        let mut names: Vec<String> = fs::read_dir(self.paths.build_dir())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        match names.len() {
            0 => "no files".to_owned(),
            count if count > 12 => {
                names.truncate(12);
                format!("{} and {} more", names.join(", "), count - 12)
            }
            _ => names.join(", "),
        }
    }
}

/// What `bin/detect` printed, or the buildpack's name if it printed nothing.
fn display_name(output: &[u8], pack: &Ready) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => line.chars().filter(|c| !c.is_control()).take(100).collect(),
        None => pack.name.clone(),
    }
}
