//! Output of the fetch and export zones for people, in Dokku's style. Callers never pass secrets.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use slipway_base::text;

/// Longest line, in bytes.
const LONGEST: usize = 16 * 1024;

/// Written in place of the lines for which there is no room.
const CUT: &str = " !     The log is longer than is kept: nothing more is shown\n";

/// Writes lines; several tasks may share it.
#[derive(Clone)]
pub struct Console(Arc<Mutex<Paper<dyn Write + Send>>>);

struct Paper<W: ?Sized> {
    /// Bytes of lines that may still be written; `None` for any number.
    left: Option<usize>,
    out: W,
}

impl Console {
    /// Writes to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Paper { left: None, out })))
    }

    /// From now on, writes lines of at most so many bytes together, and says so when there is no more room.
    pub fn limit(&self, bytes: usize) {
        self.paper(|paper| paper.left = Some(bytes));
    }

    /// Writes a text as it is, whatever the limit of lines.
    pub fn raw(&self, text: &str) -> io::Result<()> {
        self.paper(|paper| paper.write(text))
    }

    /// `-----> …`
    pub fn heading(&self, text: &str) {
        self.line(&format!("-----> {text}"));
    }

    /// A line indented by seven blanks.
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

    /// A warning with blank lines around it.
    pub fn error(&self, text: &str) {
        self.line(" !");
        self.warning(text);
        self.line(" !");
    }

    fn line(&self, line: &str) {
        // Text from outside, such as a git server's message, must not move the cursor.
        let line = text::line(line, LONGEST);
        self.paper(|paper| {
            // If nobody reads the output, the zone still goes on: its result counts.
            let _ = paper.line(&format!("{line}\n"));
        });
    }

    fn paper<T>(&self, use_it: impl FnOnce(&mut Paper<dyn Write + Send>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Paper<dyn Write + Send> {
    fn line(&mut self, line: &str) -> io::Result<()> {
        match &mut self.left {
            None => self.write(line),
            Some(0) => Ok(()),
            Some(left) if line.len() > *left => {
                *left = 0;
                self.write(CUT)
            }
            Some(left) => {
                *left -= line.len();
                self.write(line)
            }
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// A number of bytes for people: `12 MB`.
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
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::{CUT, Console, size};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_server_says_moves_no_cursor_and_turns_no_text_around() {
        let paper = Paper::default();
        let console = Console::new(paper.clone());
        console.warning("remote: \u{1b}[2Agone\u{202e}\u{1b}]0;title\u{7}\nok");
        console.error("broken\rfine");
        let said = paper.0.lock().unwrap().clone();
        assert_eq!(
            String::from_utf8(said).unwrap(),
            " !     remote: gone\n !     ok\n !\n !     broken fine\n !\n"
        );
    }

    #[test]
    fn what_has_no_room_is_left_out_and_the_report_comes_all_the_same() {
        let paper = Paper::default();
        let console = Console::new(paper.clone());
        console.limit(20);
        for _ in 0..3 {
            console.heading("one");
        }
        console.raw("report\n").unwrap();
        let said = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said, format!("-----> one\n{CUT}report\n"));
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [999, 1500, 2_340_000, 12_345_678].map(size);
        assert_eq!(sizes, ["999 B", "1 kB", "2.3 MB", "12 MB"]);
    }
}
