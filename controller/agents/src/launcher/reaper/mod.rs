//! The duties of PID 1 around one process: reap every child, pass signals on, and return the process' exit code.
//!
//! The process leads a process group of its own. With a terminal it stays in the launcher's group instead: the terminal
//! signals that group, and a process outside of it could not read from the terminal.
//!
//! When the launcher gets SIGTERM, SIGINT or SIGQUIT, it reads the process tree, and [`rule`] says which process gets
//! the signal when. The launcher waits for all processes, not only for the first one: `npm start` may have exited while
//! the server that it started still answers, and if PID 1 exited, the kernel would kill that server. Shortly before the
//! kubelet kills the container, the launcher logs which processes still run.

mod ending;
mod words;

use crate::launcher::memory::Killed;
use crate::launcher::rule::{self, Reach};
use crate::launcher::{Error, Stop, tree};
use ending::{Ending, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open,
};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use words::say;

const FORWARDED: [i32; 8] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT,
];

/// How often the process tree is read during a stop when no signal arrives: processes that start late may not be
/// children of the launcher, so it gets no SIGCHLD for them.
const LOOK: Duration = Duration::from_secs(1);

const CGROUP: &str = "/sys/fs/cgroup";

/// Runs `command` and returns its exit code, or 128 plus the signal that killed it.
pub fn supervise(command: Command, stop: Stop) -> Result<u8, Error> {
    let on_terminal = std::io::stdin().is_terminal();
    // The handlers are set before the process starts, so that no signal is missed.
    let failed = |source| Error::Reap {
        doing: "listen for signals",
        source,
    };
    let (read, write) = UnixStream::pair().map_err(failed)?;
    let numbers = FORWARDED.iter().chain([&SIGCHLD]);
    let signals = SignalDelivery::with_pipe(read, write, SignalOnly, numbers);
    Supervisor {
        signals: signals.map_err(failed)?,
        process: start(command, on_terminal)?,
        on_terminal,
        stop,
        ending: None,
        watched: Vec::new(),
        code: None,
        memory: Killed::watch(Path::new(CGROUP)),
        deaf_until: None,
    }
    .run()
}

fn start(mut command: Command, on_terminal: bool) -> Result<Pid, Error> {
    if !on_terminal {
        command.process_group(0);
    }
    let shell = PathBuf::from(command.get_program());
    let child = command
        .spawn()
        .map_err(|source| Error::Spawn { shell, source })?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::Reap {
            doing: "know the process' id",
            source: std::io::ErrorKind::InvalidData.into(),
        })
}

struct Supervisor {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    process: Pid,
    on_terminal: bool,
    stop: Stop,
    ending: Option<Ending>,
    /// Processes whose end the launcher waits for although they may not be its children.
    watched: Vec<OwnedFd>,
    code: Option<u8>,
    memory: Option<Killed>,
    /// Until then, changes of the memory counts are ignored: at its limit, a container changes them all the time.
    deaf_until: Option<Instant>,
}

impl Supervisor {
    fn run(mut self) -> Result<u8, Error> {
        loop {
            let memory_changed = self.wait()?;
            if memory_changed {
                self.deaf_until = Some(Instant::now() + LOOK);
            }
            let (mut died, mut killed) = (false, memory_changed);
            for number in self.signals.pending().collect::<Vec<_>>() {
                if number == SIGCHLD {
                    died = true;
                } else if let Some(signal) = forwarded(number, self.on_terminal) {
                    self.pass_on(number, signal);
                }
            }
            let mut none_left = false;
            if died {
                none_left = self.reap(&mut killed)?;
            }
            if killed && let Some(news) = self.memory.as_mut().and_then(Killed::news) {
                say(&news);
            }
            if let Some(code) = self.code
                && (none_left || self.ending.is_none())
            {
                return Ok(code);
            }
            self.go_on();
        }
    }

    /// Waits until there is something to do. Returns whether the kernel's memory counts have changed.
    fn wait(&mut self) -> Result<bool, Error> {
        let now = Instant::now();
        let deaf = self.deaf_until.filter(|until| *until > now);
        let warning = self
            .ending
            .as_ref()
            .and_then(|ending| Some(ending.warns_at(self.stop)?.saturating_duration_since(now)));
        let timeout = [
            warning,
            self.ending.is_some().then_some(LOOK),
            deaf.map(|until| until - now),
        ];
        let timeout = timeout.into_iter().flatten().min();
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut files = vec![PollFd::new(self.signals.get_read(), PollFlags::IN)];
        let memory = self.memory.as_ref().filter(|_| deaf.is_none());
        files.extend(memory.map(|killed| PollFd::new(killed.file(), PollFlags::PRI)));
        files.extend(self.watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Reap {
                    doing: "go on listening for signals",
                    source: errno.into(),
                });
            }
        }
        let changed = files.get(1).filter(|_| memory.is_some());
        Ok(changed.is_some_and(|file| file.revents().contains(PollFlags::PRI)))
    }

    fn pass_on(&mut self, number: i32, signal: Signal) {
        if matches!(number, SIGTERM | SIGINT | SIGQUIT) {
            match &mut self.ending {
                Some(ending) => ending.again(signal),
                None => self.ending = Some(Ending::new(signal, self.stop)),
            }
            return;
        }
        // The processes may be gone already; then their SIGCHLD comes next.
        if self.stop.reach == Reach::Group && !self.on_terminal {
            let _ = kill_process_group(self.process, signal);
            return;
        }
        let process = self.process.as_raw_nonzero().get();
        for pid in rule::programs(&tree::read(), process, number) {
            send(pid, signal);
        }
    }

    /// Takes the next step of a stop, if one is going on.
    fn go_on(&mut self) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        let living = ending.step(self.process.as_raw_nonzero().get());
        ending.warn(self.stop, &living);
        let pids = living.iter().filter_map(|one| Pid::from_raw(one.id.pid));
        // Kernels without this call return an error; then the next reading, at most one `LOOK` later, finds which
        // processes are gone.
        self.watched = pids
            .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .collect();
    }

    /// Reaps all dead children and keeps the process' exit code. Returns whether no child is left.
    fn reap(&mut self, killed: &mut bool) -> Result<bool, Error> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    *killed |= status.terminating_signal() == Some(Signal::KILL.as_raw());
                    if pid == self.process {
                        self.code = exit_code(status).or(self.code);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return Ok(false),
                Err(rustix::io::Errno::CHILD) => return Ok(true),
                Err(errno) => {
                    return Err(Error::Reap {
                        doing: "wait for children",
                        source: errno.into(),
                    });
                }
            }
        }
    }
}

/// A terminal sends its own signals to the whole foreground group; if the launcher passed them on, processes would get
/// them twice.
fn forwarded(number: i32, on_terminal: bool) -> Option<Signal> {
    if on_terminal && matches!(number, SIGINT | SIGQUIT | SIGWINCH) {
        return None;
    }
    Signal::from_named_raw(number)
}

fn exit_code(status: WaitStatus) -> Option<u8> {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))?;
    Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}
