//! PID 1's duties around one process: reap every child, pass signals to the process, tell its exit truly.
//!
//! The process leads a group of its own, so that a signal reaches what it started as well. With a terminal it
//! stays in the launcher's group instead: the terminal itself signals that group, and a process outside of it
//! could not read.
//!
//! Told to end, it also waits for what the process leaves behind: `npm start` is gone at once while the server
//! that it started still answers its last requests, and the end of PID 1 would end those in the middle. What left the
//! group, as a daemon does, has heard nothing by then, and is told.

use crate::launcher::Error;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use signal_hook::consts::signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const FORWARDED: [i32; 8] = [
    SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT,
];

/// Runs `command` and returns the exit code that is owed: the process' own, or 128 and its signal.
pub fn supervise(mut command: Command) -> Result<u8, Error> {
    let on_terminal = std::io::stdin().is_terminal();
    // Before the process starts, so that no signal of its life can be missed.
    let mut signals =
        Signals::new(FORWARDED.iter().chain([&SIGCHLD])).map_err(|source| Error::Reap {
            doing: "listen for signals",
            source,
        })?;
    if !on_terminal {
        command.process_group(0);
    }
    let shell = PathBuf::from(command.get_program());
    let child = command
        .spawn()
        .map_err(|source| Error::Spawn { shell, source })?;
    let process = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| Error::Reap {
            doing: "know the process' id",
            source: std::io::ErrorKind::InvalidData.into(),
        })?;
    let told = (!on_terminal).then_some(process);
    let (mut ending, mut strays_told) = (false, false);
    let mut code = None;
    for number in signals.forever() {
        if number == SIGCHLD {
            let none_left = reap(process, &mut code)?;
            if let Some(code) = code {
                if none_left || !ending {
                    return Ok(code);
                }
                if !strays_told {
                    end_strays(told);
                    strays_told = true;
                }
            }
        } else if let Some(signal) = forwarded(number, on_terminal) {
            ending |= matches!(number, SIGTERM | SIGINT | SIGQUIT | SIGHUP);
            // It may be gone already; then its SIGCHLD is next.
            let _ = if on_terminal {
                rustix::process::kill_process(process, signal)
            } else {
                rustix::process::kill_process_group(process, signal)
            };
        }
    }
    Err(Error::Reap {
        doing: "go on listening for signals",
        source: std::io::ErrorKind::UnexpectedEof.into(),
    })
}

/// A terminal sends its own signals to the whole foreground group: passing those on would double them.
fn forwarded(number: i32, on_terminal: bool) -> Option<Signal> {
    if on_terminal && matches!(number, SIGINT | SIGQUIT | SIGWINCH) {
        return None;
    }
    Signal::from_named_raw(number)
}

/// Tells everything outside of the group `told` to end. This is PID 1: what `/proc` shows is what it has to wait for.
fn end_strays(told: Option<Pid>) {
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw);
    for pid in pids.filter(|pid| !pid.is_init()) {
        let group = rustix::process::getpgid(Some(pid)).ok();
        if told.is_none() || group != told {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }
}

/// Reaps all that is dead, and keeps the process' exit code when it is among it. Whether no child is left.
fn reap(process: Pid, code: &mut Option<u8>) -> Result<bool, Error> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == process => *code = exit_code(status).or(*code),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
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

fn exit_code(status: WaitStatus) -> Option<u8> {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))?;
    Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX))
}
