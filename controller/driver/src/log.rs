//! Turns a build's output into lines: the last lines for the Build's status, and the whole log for the registry.
//!
//! The App's own code writes most of the output. So it is not trusted, its size is limited, and characters that move a
//! terminal's cursor are removed from lines that are shown on their own.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::StreamExt as _;

use crate::contract::{DriverError, Read};
use slipway_base::{text::plain::plain, zone::Zone};
use slipway_remotes::registry::RegistryError;

/// How many lines from the end of the log a status shows.
pub const TAIL: usize = 50;
/// Most bytes of an unfinished line that are kept.
const PENDING: usize = 64 * 1024;

/// Splits bytes into lines.
#[derive(Debug, Default)]
pub struct Framer {
    pending: Vec<u8>,
}

impl Framer {
    /// The lines that are finished by `bytes`.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.pending.len() >= PENDING {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// The last line, if it has no newline.
    pub fn finish(&mut self) -> Option<String> {
        if self.pending.is_empty() {
            return None;
        }
        let line = std::mem::take(&mut self.pending);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

/// Keeps the last lines of a log.
#[derive(Debug, Default)]
pub struct Tail {
    framer: Framer,
    last: VecDeque<String>,
}

impl Tail {
    /// The next bytes of the log.
    pub fn push(&mut self, bytes: &[u8]) {
        for line in self.framer.push(bytes) {
            self.keep(&line);
        }
    }

    fn keep(&mut self, line: &str) {
        if self.last.len() == TAIL {
            self.last.pop_front();
        }
        self.last.push_back(plain(line));
    }

    /// The last lines, at most [`TAIL`], without empty ones at the end.
    pub fn finish(mut self) -> Vec<String> {
        if let Some(line) = self.framer.finish() {
            self.keep(&line);
        }
        let mut last = Vec::from(self.last);
        while last.last().is_some_and(String::is_empty) {
            last.pop();
        }
        last
    }
}

/// The output of all zones in order, compressed. If it is longer than `most` bytes, the start and the end are kept: the
/// end says why the build failed.
pub async fn whole(driver: &impl Read, uid: &str, most: u64) -> Result<Bytes, LogError> {
    let encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut ends = Ends::new(encoder, most);
    for zone in Zone::ALL {
        let mut log = driver.output(uid, zone, false).await?.log();
        while let Some(bytes) = log.next().await {
            ends.push(&bytes?)?;
        }
    }
    Ok(ends.finish()?.finish()?.into())
}

/// Writes the first half of the allowed bytes at once, and holds back the last half until the end.
struct Ends<W> {
    out: W,
    begin: usize,
    half: usize,
    end: VecDeque<u8>,
    dropped: usize,
}

impl<W: Write> Ends<W> {
    fn new(out: W, most: u64) -> Self {
        let half = usize::try_from(most / 2).unwrap_or(usize::MAX);
        Self {
            out,
            begin: half,
            half,
            end: VecDeque::new(),
            dropped: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (first, rest) = bytes.split_at(self.begin.min(bytes.len()));
        self.out.write_all(first)?;
        self.begin -= first.len();
        // The buffer never holds more than `half` bytes, because a buffer that has grown does not shrink.
        let (gone, rest) = rest.split_at(rest.len().saturating_sub(self.half));
        let more = (self.end.len() + rest.len()).saturating_sub(self.half);
        self.drop_first(more);
        self.dropped += gone.len();
        self.end.extend(rest);
        Ok(())
    }

    fn drop_first(&mut self, count: usize) {
        self.end.drain(..count);
        self.dropped += count;
    }

    fn finish(mut self) -> io::Result<W> {
        if self.dropped > 0 {
            // The rest of a cut line is dropped, too.
            let line = self.end.iter().position(|byte| *byte == b'\n');
            self.drop_first(line.map_or(0, |at| at + 1));
            let dropped = self.dropped;
            writeln!(
                self.out,
                "\n !     {dropped} bytes of the log were dropped here: it is longer than is kept"
            )?;
        }
        let (one, two) = self.end.as_slices();
        self.out.write_all(one)?;
        self.out.write_all(two)?;
        Ok(self.out)
    }
}

/// Why a log could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The engine failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Compression failed.
    #[error("cannot compress or expand a log: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::{Ends, Framer, TAIL, Tail};
    use proptest::prelude::*;
    use slipway_base::text::plain::plain;

    #[test]
    fn a_line_is_shown_as_it_looks_at_the_end() {
        for (line, shown) in [
            ("-----> Python app detected", "-----> Python app detected"),
            ("       \u{1b}[1;32mok\u{1b}[0m  ", "       ok"),
            ("10%\r50%\r100%\r", "100%"),
            ("a\tb\u{7}c", "a bc"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("abc\u{202e}def", "abcdef"),
            ("\u{1b}", ""),
        ] {
            assert_eq!(plain(line), shown, "{line:?}");
        }
        assert_eq!(plain(&"é".repeat(1000)).chars().count(), 402);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(text in "[a-zé\n]{0,60}", cut in 0_usize..60) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let mut framer = Framer::default();
            let mut lines = framer.push(&bytes[..cut]);
            lines.extend(framer.push(&bytes[cut..]));
            lines.extend(framer.finish());
            let expected: Vec<_> = text.lines().map(str::to_owned).collect();
            prop_assert_eq!(lines, expected);
        }

        #[test]
        fn what_is_shown_has_no_control_characters(line in ".{0,80}") {
            prop_assert!(!plain(&line).chars().any(char::is_control));
        }
    }

    fn ends(text: &str, piece: usize, most: u64) -> String {
        let mut ends = Ends::new(Vec::new(), most);
        for bytes in text.as_bytes().chunks(piece) {
            ends.push(bytes).unwrap();
        }
        String::from_utf8(ends.finish().unwrap()).unwrap()
    }

    #[test]
    fn of_a_long_log_both_ends_are_kept() {
        let lines: Vec<String> = (10..50).map(|n| format!("line {n}\n")).collect();
        let text = lines.concat();
        for piece in [1, 7, 1000] {
            assert_eq!(ends(&text, piece, 400), text);
            assert_eq!(
                ends(&text, piece, 40),
                "line 10\nline 11\nline\n !     284 bytes of the log were dropped here: it is longer than is kept\nline 48\nline 49\n"
            );
        }
        // One line without a newline.
        assert!(ends(&"x".repeat(100), 9, 20).ends_with(&format!("\n{}", "x".repeat(10))));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for line in 0..100 {
            tail.push(format!("line {line}\n").as_bytes());
        }
        tail.push(b"the end\n\n");
        let last = tail.finish();
        // The empty line is one of them, and is not shown.
        let (first, end) = (last.first().unwrap(), last.last().unwrap());
        assert_eq!((first.as_str(), end.as_str()), ("line 52", "the end"));
        assert_eq!(last.len(), TAIL - 1);
    }
}
