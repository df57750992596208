//! Turns the arguments of `slipway-launcher` into one call of bash, which enters the app's folder, sources its profile
//! scripts and becomes the process. This module decides what runs; [`reaper`] runs it as PID 1.
//!
//! This module resolves no names, starts no threads, and of the app's own files reads only the names.

pub mod arguments;
pub mod command;
mod memory;
pub mod process;
pub mod reaper;
pub mod rule;
mod tree;

use arguments::USAGE;
use command::{SH, SHELLS};
use rule::Reach;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Exit code when the process cannot be started; shells use the same.
pub const CANNOT_START: u8 = 127;

/// `tree` or `group`: which processes get the signal.
pub const SIGTERM_VARIABLE: &str = "SLIPWAY_SIGTERM";

/// How many seconds a stop may take.
pub const STOP_SECONDS_VARIABLE: &str = "SLIPWAY_STOP_SECONDS";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}\n{USAGE}")]
    Usage(&'static str),
    #[error(
        "there is no folder {}: is this the image of a built app, with its layers complete?", .dir.display()
    )]
    NoAppDir { dir: PathBuf },
    #[error("cannot read {}", .path.display())]
    Profile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "this image has no bash (looked for {}): a built app needs one to start", SHELLS.join(", ")
    )]
    NoBash,
    #[error(
        "this image has no {SH}, which the App's `command` needs: leave `command` out, and the image's own entrypoint runs"
    )]
    NoShell,
    #[error("cannot start {}", .shell.display())]
    Spawn {
        shell: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot {doing}")]
    Reap {
        doing: &'static str,
        source: std::io::Error,
    },
}

/// How the processes are stopped, as the operator has set it on the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stop {
    pub reach: Reach,
    /// From the signal until the kubelet kills the remaining processes.
    pub seconds: Option<Duration>,
}

/// Reads [`SIGTERM_VARIABLE`] and [`STOP_SECONDS_VARIABLE`]. Also returns a warning if the first is not valid.
pub fn stop(reach: Option<&OsStr>, seconds: Option<&OsStr>) -> (Stop, Option<String>) {
    let seconds = seconds.and_then(OsStr::to_str);
    let seconds = seconds.and_then(|text| text.parse::<u32>().ok());
    let (reach, trouble) = match reach.map(OsStr::as_bytes) {
        None | Some(b"" | b"tree") => (Reach::Tree, None),
        Some(b"group") => (Reach::Group, None),
        Some(_) => (
            Reach::Tree,
            Some(format!(
                "{SIGTERM_VARIABLE} is neither `tree` nor `group`: it counts as `tree`"
            )),
        ),
    };
    let stop = Stop {
        reach,
        seconds: seconds.map(|seconds| Duration::from_secs(seconds.into())),
    };
    (stop, trouble)
}

#[cfg(test)]
mod tests;
