//! What the launcher says of a stop, and when: to the log and to the container's status.

use crate::launcher::process::Process;
use std::io::Write;
use std::time::Duration;

/// How long before the end of the stop the launcher logs which processes still run.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The kubelet copies this file into the container's status when the container has ended.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// How long after the first signal the launcher logs which processes still run.
pub(super) fn last_words(end: Duration) -> Duration {
    end.saturating_sub(LAST_WORDS.min(end / 4))
}

/// Shows only names: command lines may hold passwords.
pub(super) fn still_running(living: &[Process], left: Duration) -> Option<String> {
    const SHOWN: usize = 8;
    let names: Vec<String> = living
        .iter()
        .take(SHOWN)
        .map(|one| format!("{} (PID {})", one.name, one.id.pid))
        .collect();
    if names.is_empty() {
        return None;
    }
    let more = match living.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "told to end, and still running: {}{more}; what has not ended in {:.1} s is killed (deadlines.stop)",
        names.join(", "),
        left.as_secs_f64()
    ))
}

/// Writes a message to the log and, for the container's status, to the kubelet's file.
#[expect(
    clippy::print_stderr,
    reason = "the launcher has no other place to tell what happens to the app"
)]
pub(super) fn say(what: &str) {
    eprintln!("slipway-launcher: {what}");
    let log = std::fs::OpenOptions::new()
        .append(true)
        .open(TERMINATION_LOG);
    if let Ok(mut log) = log {
        // If the file is missing or full, the line on standard error has to be enough.
        let _ = writeln!(log, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_said_shortly_before_the_end() {
        for (end, at) in [(30, 28.0), (8, 6.0), (4, 3.0), (1, 0.75), (0, 0.0)] {
            assert!((last_words(Duration::from_secs(end)).as_secs_f64() - at).abs() < 1e-9);
        }
    }
}
