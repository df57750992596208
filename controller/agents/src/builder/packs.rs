//! The buildpacks on the volume: lists them, asks which accept the source, and runs their programs.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::builder::{
    Builder, Paths, Stop,
    child::{Ended, Pipe, Program, Stderr},
    read_bounded,
};
use slipway_base::zone::report::{self, Packs, exit};

/// Longest time for one `bin/detect`, and for reading one `export`.
const DETECT: Duration = Duration::from_mins(1);
/// Most bytes that are kept of output that is not shown as it comes.
const CAPTURED: usize = 1024 * 1024;

/// A buildpack that can be run.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) digest: String,
    dir: PathBuf,
}

impl Ready {
    fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Whether the buildpack has `bin/<name>`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.program(name).is_file()
    }
}

/// One of a buildpack's programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Detect,
    Compile,
    Release,
    Report,
}

impl Step {
    fn program(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Compile => "compile",
            Self::Release => "release",
            Self::Report => "report",
        }
    }

    fn args(self, paths: &Paths) -> Vec<OsString> {
        let build = paths.build_dir().into_os_string();
        match self {
            Self::Detect | Self::Release => vec![build],
            Self::Compile | Self::Report => vec![
                build,
                paths.cache_dir().into_os_string(),
                paths.env_dir.clone().into_os_string(),
            ],
        }
    }
}

/// Reads the list that the fetch zone wrote, and makes the buildpacks' programs executable: archives and checkouts can
/// lose that mode.
pub(super) fn read(paths: &Paths) -> Result<(bool, Vec<Ready>), Stop> {
    let failed = |error: &dyn std::fmt::Display| {
        Stop::internal("detect", "read which buildpacks were fetched", error)
    };
    let bytes = read_bounded(&paths.packs_file(), report::MAX_BYTES as u64)
        .map_err(|error| failed(&error))?
        .ok_or_else(|| failed(&"there is no such file"))?;
    let packs: Packs = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    fs::create_dir_all(paths.cache_dir())
        .map_err(|error| Stop::internal("detect", "make the cache's folder", &error))?;
    let mut ready = vec![];
    for pack in packs.packs {
        let dir = paths.packs_dir().join(&pack.folder);
        let pack = Ready {
            name: pack.name,
            digest: pack.digest,
            dir,
        };
        make_executable(&pack).map_err(|error| {
            Stop::new(
                exit::DETECT,
                "detect",
                format!(
                    "{} is no buildpack: its folder bin cannot be read: {error}",
                    pack.name
                ),
            )
            .of_pack(&pack.name, None)
        })?;
        for name in ["detect", "compile"] {
            if !pack.has(name) {
                let message = format!("{} is no buildpack: it has no bin/{name}", pack.name);
                return Err(Stop::new(exit::DETECT, "detect", message).of_pack(&pack.name, None));
            }
        }
        ready.push(pack);
    }
    Ok((packs.explicit, ready))
}

fn make_executable(pack: &Ready) -> io::Result<()> {
    for entry in fs::read_dir(pack.dir.join("bin"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// A buildpack's answer to `bin/detect`.
struct Detected {
    ended: Ended,
    output: Vec<u8>,
    errors: Vec<u8>,
}

impl Builder<'_> {
    /// Runs a program of a buildpack and shows its output as it comes.
    pub(super) fn run_pack(
        &mut self,
        pack: &Ready,
        step: Step,
        deadline: Instant,
    ) -> io::Result<Ended> {
        let env = match step {
            Step::Compile => self.environment.exported(),
            Step::Detect | Step::Release | Step::Report => self.environment.base(),
        };
        let path = pack.program(step.program());
        let program = Program {
            path: &path,
            args: step.args(self.paths),
            env: &env,
            cwd: &self.paths.build_dir(),
            stderr: Stderr::Merged,
        };
        let log = &mut self.log;
        let ended = self
            .children
            .run(&program, deadline, &mut |_, bytes| log.output(bytes));
        self.log.finish_output();
        ended
    }

    /// Runs a program whose standard output is data. Its standard error is shown, except that of `bin/report`.
    pub(super) fn capture(
        &mut self,
        pack: &Ready,
        step: Step,
        deadline: Instant,
        text: &mut Vec<u8>,
    ) -> io::Result<Ended> {
        let env = self.environment.base();
        let path = pack.program(step.program());
        let program = Program {
            path: &path,
            args: step.args(self.paths),
            env: &env,
            cwd: &self.paths.build_dir(),
            stderr: Stderr::Apart,
        };
        let log = &mut self.log;
        let ended = self
            .children
            .run(&program, deadline, &mut |from, bytes| match from {
                Pipe::Output => keep(text, bytes),
                Pipe::Error if step == Step::Report => {}
                Pipe::Error => log.output(bytes),
            });
        self.log.finish_output();
        ended
    }

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
    pub(super) fn must_detect(&mut self, pack: &Ready) -> Result<String, Stop> {
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
    pub(super) fn first_that_accepts<'p>(
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

    /// Reads a buildpack's `export` as Heroku does: bash sources it at top level, and unset variables are no error.
    pub(super) fn take_exports(&mut self, pack: &Ready) -> Result<(), Stop> {
        let export = pack.dir.join("export");
        if !export.is_file() {
            return Ok(());
        }
        let env = self.environment.exported();
        let program = Program {
            path: "bash".as_ref(),
            args: [
                "-c",
                "source \"$1\" >/dev/null 2>&1; exec /usr/bin/env -0",
                "export",
            ]
            .into_iter()
            .map(OsString::from)
            .chain([export.into_os_string()])
            .collect(),
            env: &env,
            cwd: &self.paths.build_dir(),
            stderr: Stderr::Apart,
        };
        let mut printed = Vec::new();
        let deadline = self.deadline.min(Instant::now() + DETECT);
        let ended = self
            .children
            .run(&program, deadline, &mut |from, bytes| {
                if from == Pipe::Output {
                    keep(&mut printed, bytes);
                }
            })
            .map_err(|error| {
                Stop::internal("compile", "start bash", &error).of_pack(&pack.name, None)
            })?;
        if ended != Ended::Code(0) || printed.is_empty() {
            let message = format!(
                "what buildpack {} exports for the next one cannot be read ({ended})",
                pack.name
            );
            return Err(Stop::new(exit::COMPILE, "compile", message).of_pack(&pack.name, None));
        }
        self.environment.take(&printed);
        Ok(())
    }
}

fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = CAPTURED.saturating_sub(into.len());
    into.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
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
