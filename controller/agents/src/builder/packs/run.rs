//! Runs the programs of one buildpack, and shows or keeps what they write.

use std::{ffi::OsString, io, time::Instant};

use crate::builder::{
    Builder,
    child::{Ended, Pipe, Program, Stderr},
    packs::{DETECT, Ready, Step},
    stop::Stop,
};
use slipway_base::zone::report::exit;

/// Most bytes that are kept of output that is not shown as it comes.
const CAPTURED: usize = 1024 * 1024;

impl Builder<'_> {
    /// Runs a program of a buildpack and shows its output as it comes.
    pub(in crate::builder) fn run_pack(
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
    pub(in crate::builder) fn capture(
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

    /// Reads a buildpack's `export` as Heroku does: bash sources it at top level, and unset variables are no error.
    pub(in crate::builder) fn take_exports(&mut self, pack: &Ready) -> Result<(), Stop> {
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

/// Keeps the bytes, up to a limit.
pub(super) fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = CAPTURED.saturating_sub(into.len());
    into.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
}
