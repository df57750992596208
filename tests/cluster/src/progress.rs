//! Steps of a long command → lines with elapsed time, for people or (as JSON) for programs. Writes only to the given
//! handle.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

/// Prints what is being done, and how long it has taken.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    json: bool,
    started: Instant,
    step: Instant,
    title: String,
}

impl<'a> Progress<'a> {
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        let now = Instant::now();
        Self {
            out,
            json,
            started: now,
            step: now,
            title: String::new(),
        }
    }

    /// A new step begins.
    pub fn step(&mut self, title: impl Into<String>) {
        self.step = Instant::now();
        self.title = title.into();
        self.line("step", &format!("-----> {}", self.title), None);
    }

    /// The step is over.
    pub fn done(&mut self, what: &str) {
        let text = format!(
            "       {what} after {} ({} in all)",
            seconds(self.step.elapsed()),
            seconds(self.started.elapsed())
        );
        self.line("done", &text, Some(what));
    }

    /// Prints a message within the step.
    pub fn note(&mut self, text: &str) {
        for line in text.lines() {
            self.line("note", &format!("       {line}"), Some(line));
        }
    }

    /// Prints a warning.
    pub fn warn(&mut self, text: &str) {
        for line in text.lines() {
            self.line("warning", &format!(" !     {line}"), Some(line));
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.step.elapsed()
    }

    // Errors are ignored: a closed pipe must not stop the cluster from coming up.
    fn line(&mut self, event: &str, text: &str, message: Option<&str>) {
        let line = if self.json {
            json!({"event": event, "step": self.title, "message": message, "elapsed_ms": self.started.elapsed().as_millis()}).to_string()
        } else {
            text.to_owned()
        };
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }
}

pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole >= 60 {
        format!("{} min {} s", whole / 60, whole % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_dokku_style_and_programs_get_json() {
        let mut out = Vec::new();
        let mut progress = Progress::new(&mut out, false);
        progress.step("Starting etcd");
        progress.note("two\nlines");
        progress.warn("careful");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "-----> Starting etcd\n       two\n       lines\n !     careful\n"
        );

        let mut out = Vec::new();
        Progress::new(&mut out, true).step("Starting etcd");
        let event: serde_json::Value = serde_json::from_slice(&out).expect("json");
        assert_eq!(
            (event["event"].as_str(), event["step"].as_str()),
            (Some("step"), Some("Starting etcd"))
        );
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
