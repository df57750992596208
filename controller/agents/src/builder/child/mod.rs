//! Runs programs of buildpacks. Each gets a session of its own, no standard input, and pipes for its output. When the
//! program ends, the builder kills every process that it started.

mod kill;
mod listen;

use std::{
    ffi::OsString,
    fmt,
    io::{self, pipe},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_child_subreaper, setsid};

use kill::{kill_orphans, signal_all};
use listen::{Heard, listen};
use slipway_base::disk;

/// First argument that makes the builder's program start another program in a new session.
pub const SESSION: &str = "in-session";
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long the builder waits for the last output after all writers are dead.
const DRAIN: Duration = Duration::from_secs(5);

/// The program to run.
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) args: Vec<OsString>,
    pub(super) env: &'a [(OsString, OsString)],
    pub(super) cwd: &'a Path,
    pub(super) stderr: Stderr,
}

/// Where standard error goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stderr {
    /// To the same pipe as standard output, so that the order of lines is kept.
    Merged,
    /// To a pipe of its own.
    Apart,
}

/// The pipe that some bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    Output,
    Error,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    TimedOut,
    /// The builder stopped it before it filled the disk.
    DiskFull,
}

impl Ended {
    pub(super) fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            // Shells report a signal as this exit code.
            Self::Signal(signal) => Some(128 + signal),
            Self::TimedOut | Self::DiskFull => None,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(9) => f.write_str("killed by signal 9, perhaps for want of memory"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("it took too long"),
            Self::DiskFull => f.write_str("the disk is nearly full"),
        }
    }
}

/// Starts programs. This process becomes the parent of all processes that they leave behind, and kills them.
pub(super) struct Children {
    builder: PathBuf,
    volume: PathBuf,
    /// Bytes that have to stay free on the volume's disk.
    reserve: u64,
}

impl Children {
    pub(super) fn new(builder: &Path, volume: &Path, reserve: u64) -> Self {
        // If this call fails, left-behind processes are found only where this process is PID 1 of its container.
        let _ = set_child_subreaper(Pid::from_raw(1));
        Self {
            builder: builder.to_owned(),
            volume: volume.to_owned(),
            reserve,
        }
    }

    fn is_disk_full(&self) -> bool {
        disk::is_short(&self.volume, self.reserve)
    }

    /// Runs a program until it ends or the deadline passes. `hear` gets the output as it arrives.
    pub(super) fn run(
        &self,
        program: &Program<'_>,
        deadline: Instant,
        hear: &mut dyn FnMut(Pipe, &[u8]),
    ) -> io::Result<Ended> {
        let (output, writer) = pipe()?;
        let mut pipes = vec![(Pipe::Output, output)];
        let mut command = Command::new(&self.builder);
        command
            .arg(SESSION)
            .arg(program.path)
            .args(&program.args)
            .env_clear()
            .envs(program.env.iter().map(|(k, v)| (k, v)))
            .current_dir(program.cwd)
            .stdin(Stdio::null());
        match program.stderr {
            Stderr::Merged => {
                command.stderr(writer.try_clone()?);
            }
            Stderr::Apart => {
                let (errors, writer) = pipe()?;
                command.stderr(writer);
                pipes.push((Pipe::Error, errors));
            }
        }
        command.stdout(writer);
        let mut child = command.spawn()?;
        // `command` holds our copies of the writing ends; while they are open, the pipes never end.
        drop(command);
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;

        let is_full = || self.is_disk_full();
        let stopped = match listen(&mut pipes, Some(&pidfd), deadline, &is_full, hear)? {
            Heard::End => None,
            // The program gets no SIGTERM: its clean-up could also use disk space.
            Heard::FullDisk => Some(Ended::DiskFull),
            Heard::Deadline => {
                signal_all(pid, Signal::TERM);
                let grace = Instant::now() + GRACE;
                listen(&mut pipes, Some(&pidfd), grace, &is_full, hear)?;
                Some(Ended::TimedOut)
            }
        };
        signal_all(pid, Signal::KILL);
        let status = child.wait()?;
        kill_orphans();
        listen(&mut pipes, None, Instant::now() + DRAIN, &|| false, hear)?;
        Ok(stopped.unwrap_or_else(|| ended(status)))
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

/// Replaces this process by another program in a session and process group of its own. Returns only if that fails.
pub fn session(mut args: impl Iterator<Item = OsString>) -> io::Error {
    let Some(program) = args.next() else {
        return io::Error::other("no program to start");
    };
    if let Err(error) = setsid() {
        return error.into();
    }
    Command::new(program).args(args).exec()
}
