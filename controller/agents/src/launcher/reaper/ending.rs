//! A stop from its first signal to the end of the last process: the processes that live → the signals that they get.

use crate::launcher::Stop;
use crate::launcher::process::Process;
use crate::launcher::reaper::words::{last_words, say, still_running};
use crate::launcher::rule::{Act, Course};
use crate::launcher::tree;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// How often the process tree is read at once while each reading leads to a new signal.
const LOOKS: usize = 16;

/// How long a stop is assumed to last if the pod does not say.
const STOP: Duration = Duration::from_secs(30);

/// A stop that is going on.
pub(super) struct Ending {
    since: Instant,
    signal: Signal,
    course: Course,
    warned: bool,
}

impl Ending {
    pub(super) fn new(signal: Signal, stop: Stop) -> Self {
        let late = stop.seconds.unwrap_or(STOP) / 3;
        Self {
            since: Instant::now(),
            signal,
            course: Course::new(stop.reach, late),
            warned: false,
        }
    }

    /// Another signal arrived.
    pub(super) fn again(&mut self, signal: Signal) {
        self.signal = signal;
        self.course.again();
    }

    /// When the launcher logs which processes still run, unless it has done so.
    pub(super) fn warns_at(&self, stop: Stop) -> Option<Instant> {
        let at = self.since + stop.seconds.map(last_words)?;
        (!self.warned).then_some(at)
    }

    /// Sends the signals that are due. `process` is the one that the launcher started. Returns the processes that
    /// live.
    pub(super) fn step(&mut self, process: i32) -> Vec<Process> {
        let mut living = Vec::new();
        // A process that got the signal may have started another one since the tree was read.
        for _ in 0..LOOKS {
            living = tree::read();
            let acts = self.course.step(&living, process, self.since.elapsed());
            if acts.is_empty() {
                break;
            }
            // Once the process is gone, the processes that it left get SIGTERM, whatever the first signal was.
            let lives = living.iter().any(|one| one.id.pid == process);
            let signal = if lives { self.signal } else { Signal::TERM };
            for act in acts {
                match act {
                    Act::Hold(pid) => send(pid, Signal::STOP),
                    Act::Tell(pid) => send(pid, signal),
                    Act::Release(pid) => {
                        send(pid, Signal::TERM);
                        send(pid, Signal::CONT);
                    }
                }
            }
        }
        living
    }

    /// Logs, once and shortly before the kubelet kills them, which processes still run.
    pub(super) fn warn(&mut self, stop: Stop, living: &[Process]) {
        let Some(end) = stop.seconds else {
            return;
        };
        if self.warned || self.since.elapsed() < last_words(end) {
            return;
        }
        self.warned = true;
        if let Some(words) = still_running(living, end.saturating_sub(last_words(end))) {
            say(&words);
        }
    }
}

/// Sends a signal to one process.
pub(super) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // The process may be gone already.
        let _ = kill_process(pid, signal);
    }
}
