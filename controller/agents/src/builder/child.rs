//! Runs programs of buildpacks. Each gets a session of its own, no standard input, and pipes for its output. When the
//! program ends, the builder kills every process that it started.

use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, PipeReader, Read, pipe},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open,
        set_child_subreaper, setsid, waitpid,
    },
};

use slipway_base::disk;

/// First argument that makes the builder's program start another program in a new session.
pub const SESSION: &str = "in-session";
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How often the free space of the disk is checked.
const LOOK: Duration = Duration::from_secs(1);
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

/// Why the builder stopped listening.
enum Heard {
    End,
    Deadline,
    FullDisk,
}

/// Reads the pipes until the program ends or, without a program, until the last pipe closes. Stops earlier at the
/// deadline or when the disk is full.
fn listen(
    pipes: &mut Vec<(Pipe, PipeReader)>,
    program: Option<&OwnedFd>,
    deadline: Instant,
    is_full: &dyn Fn() -> bool,
    hear: &mut dyn FnMut(Pipe, &[u8]),
) -> io::Result<Heard> {
    let mut buffer = vec![0; 64 * 1024];
    let mut look = Instant::now();
    loop {
        if program.is_none() && pipes.is_empty() {
            return Ok(Heard::End);
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(Heard::Deadline);
        }
        if now >= look {
            if is_full() {
                return Ok(Heard::FullDisk);
            }
            look = now + LOOK;
        }
        let timeout = Timespec::try_from(deadline.min(look) - now).map_err(io::Error::other)?;
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = pipes
                .iter()
                .map(|(_, pipe)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
                .chain(program.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)))
                .collect();
            match poll(&mut fds, Some(&timeout)) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
            }
        };
        let mut ready = ready.into_iter();
        let mut open = Vec::new();
        for (from, mut pipe) in pipes.drain(..) {
            if ready.next() == Some(true) {
                let count = pipe.read(&mut buffer)?;
                if count == 0 {
                    continue;
                }
                hear(from, buffer.get(..count).unwrap_or_default());
            }
            open.push((from, pipe));
        }
        *pipes = open;
        if ready.next() == Some(true) {
            return Ok(Heard::End);
        }
    }
}

/// The program leads its process group, except in the moment before it has made its session: then only the process
/// itself gets the signal.
fn signal_all(pid: Pid, signal: Signal) {
    if kill_process_group(pid, signal).is_err() {
        let _ = kill_process(pid, signal);
    }
}

/// Kills processes that outlived their parent until none is left, at most 100 times: a process may start another one
/// while it dies.
fn kill_orphans() {
    for _ in 0..100 {
        let orphans = own_children();
        if orphans.is_empty() {
            return;
        }
        for pid in orphans {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

fn own_children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The format is "pid (name) state parent …"; the name may hold blanks and brackets.
            let (_, rest) = stat.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?;
            (parent == own).then(|| Pid::from_raw(pid)).flatten()
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io::pipe,
        time::{Duration, Instant},
    };

    use super::{Heard, Pipe, listen};

    #[test]
    fn the_disk_is_looked_at_also_while_nothing_is_said() {
        let (output, _writer) = pipe().unwrap();
        let looks = Cell::new(0);
        let is_full = || {
            looks.set(looks.get() + 1);
            looks.get() == 2
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut pipes = vec![(Pipe::Output, output)];
        let heard = listen(&mut pipes, None, deadline, &is_full, &mut |_, _| ()).unwrap();
        assert!(matches!(heard, Heard::FullDisk));
        assert!(Instant::now() < deadline);
    }
}
