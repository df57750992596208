//! Starts a program as a detached process with a pidfile and a log, and stops it. A process is identified by its number
//! and its start time, because numbers are reused. No process is ever looked up by name.

use std::fs::{self, OpenOptions};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::layout::{Layout, MARKER};

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub words: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

/// A process, identified by its number and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks after boot, from /proc/PID/stat.
    pub started: u64,
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        started(&stat).map(|started| Self { pid, started })
    }

    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn signal(self, signal: Signal) {
        if self.alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // It may end between the check and the signal, which is fine.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The start time in a line of /proc/PID/stat; `None` for a zombie.
fn started(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Starts `program` in a session of its own. Its output goes to its log.
pub fn start(layout: &Layout, program: &Program) -> Result<Process> {
    let log = layout.log(program.name);
    let open = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {log}"))
    };
    let mut command = Command::new("setsid");
    command
        .args(&program.words)
        .env_clear()
        .env("HOME", layout.at("home"))
        .env(
            "PATH",
            format!("{}:{}", layout.bin(), crate::command::SYSTEM_PATH),
        )
        .env(MARKER, &layout.state)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir(&layout.state)
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?);
    let child = command
        .spawn()
        .with_context(|| format!("starting {}", program.name))?;
    let pid = i32::try_from(child.id()).context("a process number")?;
    let Some(process) = Process::of(pid) else {
        bail!("{} ended at once:\n{}", program.name, files::tail(&log, 20));
    };
    files::write(
        &layout.pidfile(program.name),
        serde_json::to_string(&process)?.as_bytes(),
        0o644,
    )?;
    Ok(process)
}

/// The process of that name, if it runs.
pub fn running(layout: &Layout, name: &str) -> Option<Process> {
    let text = fs::read_to_string(layout.pidfile(name)).ok()?;
    let process: Process = serde_json::from_str(&text).ok()?;
    process.alive().then_some(process)
}

/// Asks the process to end, and kills it after `grace`.
pub fn stop(layout: &Layout, name: &str, grace: Duration) {
    let Some(process) = running(layout, name) else {
        return;
    };
    process.signal(Signal::TERM);
    if !gone(&[process], grace) {
        process.signal(Signal::KILL);
        gone(&[process], Duration::from_secs(10));
    }
}

/// Those that have not ended. A control group also lists zombies.
pub fn alive(pids: &[i32]) -> Vec<i32> {
    let alive = |pid: &i32| Process::of(*pid).is_some();
    pids.iter().copied().filter(alive).collect()
}

/// Kills the given processes.
pub fn kill(pids: &[i32]) {
    let all: Vec<Process> = pids.iter().filter_map(|pid| Process::of(*pid)).collect();
    for process in &all {
        process.signal(Signal::KILL);
    }
    gone(&all, Duration::from_secs(10));
}

/// Processes with this cluster's [`MARKER`] in their environment: its daemons, and their shims.
pub fn marked(layout: &Layout) -> Vec<i32> {
    let mark = format!("{MARKER}={}", layout.state);
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        })
        .collect()
}

fn gone(processes: &[Process], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if !processes.iter().any(|process| process.alive()) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &std::path::Path) -> Layout {
        Layout {
            state: folder.to_string_lossy().into_owned(),
            cache: "/nowhere".to_owned(),
        }
    }

    #[test]
    fn the_start_time_survives_a_name_with_brackets_and_the_dead_have_none() {
        let fields = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started(&format!("7 (a) b) S {fields}")), Some(4711));
        assert_eq!(started(&format!("7 (a) Z {fields}")), None);
        assert_eq!(started("nonsense"), None);
    }

    #[test]
    fn a_process_is_started_found_and_stopped_even_if_it_does_not_listen() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = layout(folder.path());
        for part in ["logs", "home"] {
            files::folder_at(&layout.at(part), 0o755).expect("folder");
        }
        let program = Program {
            name: "deaf",
            words: [
                "sh",
                "-c",
                "trap '' TERM; echo up; while :; do sleep 0.05; done",
            ]
            .map(str::to_owned)
            .to_vec(),
            environment: vec![],
        };
        let process = start(&layout, &program).expect("started");
        assert_eq!(running(&layout, "deaf"), Some(process));
        assert!(marked(&layout).contains(&process.pid));
        stop(&layout, "deaf", Duration::from_millis(100));
        assert_eq!(running(&layout, "deaf"), None);
    }

    #[test]
    fn a_pidfile_whose_number_went_to_another_process_is_nobody() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = layout(folder.path());
        let own = Process::of(std::process::id().cast_signed()).expect("own process");
        let other = Process {
            started: own.started + 1,
            ..own
        };
        files::write(
            &layout.pidfile("x"),
            serde_json::to_string(&other).expect("json").as_bytes(),
            0o644,
        )
        .expect("written");
        assert_eq!(running(&layout, "x"), None);
    }
}
