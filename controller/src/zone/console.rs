//! What fetch and export say to people, in Dokku's style. Never a secret: callers pass none.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

/// Where lines go; several tasks may speak.
#[derive(Clone)]
pub struct Console(Arc<Mutex<dyn Write + Send>>);

impl Console {
    /// Speaks to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(out)))
    }

    /// `-----> …`
    pub fn heading(&self, text: &str) {
        self.line(&format!("-----> {text}"));
    }

    /// Seven blanks.
    pub fn detail(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("       {line}"));
        }
    }

    /// ` !     …`
    pub fn warning(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!(" !     {line}"));
        }
    }

    /// A warning with air around it.
    pub fn error(&self, text: &str) {
        self.line(" !");
        self.warning(text);
        self.line(" !");
    }

    fn line(&self, line: &str) {
        // Foreign text, such as what a git server says, must not move the cursor.
        let line: String = line
            .chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect();
        if let Ok(mut out) = self.0.lock() {
            // Nobody reads: the zone goes on, its report is what counts.
            let _ = out.write_all(format!("{}\n", line.trim_end()).as_bytes());
            let _ = out.flush();
        }
    }
}

/// Bytes for people: `12 MB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..10_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        let sizes = [999, 1500, 2_340_000, 12_345_678].map(size);
        assert_eq!(sizes, ["999 B", "1 kB", "2.3 MB", "12 MB"]);
    }
}
