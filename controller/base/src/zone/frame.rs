//! A zone's report as lines of its own output: whatever runs a zone keeps its output after the zone has ended, and
//! there is nothing else that both an engine and a pod keep. Pure.
//!
//! ```text
//! RS slipway MARK NUMBER/COUNT PART LF      for example ␞slipway 5f0c… 1/3 {"packs":[{"name":"pyth
//! ```
//!
//! The report is cut into parts, each on a line of its own: RS (0x1e) starts a frame, and the next LF ends it. No other
//! line of a zone's output has an RS, because the zones take control characters out of everything that they show. The
//! whole line is written at once and has at most [`LINE`] bytes. So it never mixes with lines of other writers, and no
//! container runtime splits it: they store at most 16 KiB as one piece.
//!
//! The parts are plain text, not base64: JSON has no control characters, and runtimes store UTF-8 as it is. So the
//! report of a failed build can be read by eye, and the static programs need no library for it.
//!
//! The operator believes only frames with the zone's own [`Mark`]. It makes another one for each Build and zone and
//! hands it over in the zone's input, which the zone's program removes before it runs anything else. The program of the
//! build zone also keeps other processes of its user from reading its memory. Still, nothing that matters to others
//! relies on the build zone's report (see [`crate::zone::report`]).

use std::ops::ControlFlow;

pub use crate::zone::mark::Mark;
use crate::zone::report::MAX_BYTES;

/// Most bytes of a frame's line, LF included: Linux writes so many to a pipe as one piece (`PIPE_BUF`).
pub const LINE: usize = 4096;
/// Starts a frame.
const RS: u8 = 0x1e;
/// First word of a frame.
const WORD: &str = "slipway";
/// Room for what is in a line beside the part: RS and LF, the word, the mark, two numbers, blanks.
const BESIDE: usize = 128;
/// Most bytes of one part.
const PART: usize = LINE - BESIDE;

/// Most bytes of all frames of a report together. Each frame but the last has at least [`PART`] bytes of the report,
/// less what a character is cut short by.
pub const MAX_FRAMED: usize = (MAX_BYTES / (PART - 4) + 1) * LINE;

/// Why a report cannot be framed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is too long.
    #[error("the report has {bytes} bytes, and may have at most {MAX_BYTES}")]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It is no JSON in one line.
    #[error("the report has a control character")]
    Control,
}

/// The frames of a report, which is JSON in one line: each with its LF, in the order in which they are to be written.
pub fn frames(mark: &Mark, report: &str) -> Result<Vec<String>, FrameError> {
    if report.len() > MAX_BYTES {
        let bytes = report.len();
        return Err(FrameError::TooLong { bytes });
    }
    if report.bytes().any(|byte| byte < b' ') {
        return Err(FrameError::Control);
    }
    let mut parts = Vec::new();
    let mut rest = report;
    while !rest.is_empty() || parts.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART));
        parts.push(part);
        rest = after;
    }
    let (rs, mark, count) = (char::from(RS), mark.as_str(), parts.len());
    let lines = parts.iter().zip(1..);
    Ok(lines
        .map(|(part, number)| format!("{rs}{WORD} {mark} {number}/{count} {part}\n"))
        .collect())
}

/// A piece of a zone's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A part of the log.
    Log(&'a [u8]),
    /// A whole frame, without RS and LF.
    Frame(&'a [u8]),
}

/// Takes the frames out of a zone's output, which may come in pieces of any size.
#[derive(Debug, Default)]
pub struct Splitter {
    /// What has come of a frame.
    frame: Option<Vec<u8>>,
}

impl Splitter {
    /// Hands on what is in these bytes. What never becomes a whole frame is handed on as nothing, and no more of it is
    /// kept than a frame may have.
    pub fn push(&mut self, mut bytes: &[u8], mut hear: impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            let next = match &mut self.frame {
                None => self.log(bytes, &mut hear),
                Some(frame) => match fill(frame, bytes) {
                    ControlFlow::Continue(()) => return,
                    ControlFlow::Break(rest) => {
                        if frame.len() < LINE {
                            hear(Piece::Frame(frame));
                        }
                        self.frame = None;
                        rest
                    }
                },
            };
            bytes = next;
        }
    }

    fn log<'a>(&mut self, bytes: &'a [u8], hear: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == RS);
        let (log, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if !log.is_empty() {
            hear(Piece::Log(log));
        }
        match rest.split_first() {
            None => rest,
            Some((_, rest)) => {
                self.frame = Some(Vec::new());
                rest
            }
        }
    }
}

/// Adds bytes to a frame. Breaks with what comes after the frame's end.
fn fill<'a>(frame: &mut Vec<u8>, bytes: &'a [u8]) -> ControlFlow<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (more, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    let room = LINE.saturating_sub(frame.len());
    frame.extend(more.iter().take(room));
    match rest.split_first() {
        None => ControlFlow::Continue(()),
        Some((_, rest)) => ControlFlow::Break(rest),
    }
}

/// Puts the report together from frames with its mark; all others are ignored.
#[derive(Debug)]
pub struct Collector {
    mark: Mark,
    /// The parts that have come, one after the other.
    parts: Vec<u8>,
    /// Number of the frame that has to come next; `None` if only a first one can be.
    next: Option<usize>,
    /// How many frames there are.
    count: usize,
    whole: Option<Vec<u8>>,
}

impl Collector {
    /// For the report of a zone with this mark.
    pub const fn new(mark: Mark) -> Self {
        Self {
            mark,
            parts: Vec::new(),
            next: None,
            count: 0,
            whole: None,
        }
    }

    /// Takes a frame, without RS and LF.
    pub fn take(&mut self, frame: &[u8]) {
        let Some((number, count, part)) = self.read(frame) else {
            return;
        };
        if number == 1 {
            self.parts.clear();
            (self.next, self.count) = (Some(1), count);
        }
        let fits = self.parts.len() + part.len() <= MAX_BYTES;
        let expected = self.next.take() == Some(number) && count == self.count;
        if !expected || !fits {
            return;
        }
        self.parts.extend_from_slice(part);
        if number == count {
            self.whole = Some(std::mem::take(&mut self.parts));
        } else {
            self.next = Some(number + 1);
        }
    }

    /// The last report that was whole, at most [`MAX_BYTES`] long; `None` if there was none.
    pub fn finish(self) -> Option<Vec<u8>> {
        self.whole
    }

    /// Number, count and part of a frame with the right mark.
    fn read<'a>(&self, frame: &'a [u8]) -> Option<(usize, usize, &'a [u8])> {
        let head = format!("{WORD} {} ", self.mark.as_str());
        let rest = frame.strip_prefix(head.as_bytes())?;
        let blank = rest.iter().position(|byte| *byte == b' ')?;
        let (numbers, part) = rest.split_at(blank);
        let (number, count) = std::str::from_utf8(numbers).ok()?.split_once('/')?;
        Some((number.parse().ok()?, count.parse().ok()?, part.get(1..)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, FrameError, LINE, MAX_FRAMED, Mark, Piece, Splitter, frames};
    use crate::zone::report::MAX_BYTES;
    use proptest::prelude::*;

    fn mark(text: &str) -> Mark {
        Mark::new(text.to_owned())
    }

    fn ours() -> Mark {
        mark("0123456789abcdef")
    }

    /// The log of an output that comes in pieces of so many bytes, and the report in it.
    fn read(output: &[u8], size: usize) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut log, mut splitter) = (Vec::new(), Splitter::default());
        let mut collector = Collector::new(ours());
        for piece in output.chunks(size.max(1)) {
            splitter.push(piece, |piece| match piece {
                Piece::Log(bytes) => log.extend_from_slice(bytes),
                Piece::Frame(frame) => collector.take(frame),
            });
        }
        (log, collector.finish())
    }

    fn framed(report: &str) -> String {
        frames(&ours(), report).unwrap().concat()
    }

    #[test]
    fn a_report_of_any_bearable_size_comes_whole_and_within_its_bounds() {
        for bytes in [0, 1, LINE, 3 * LINE + 1, MAX_BYTES] {
            // A character of three bytes falls on each cut.
            let report = format!("{}{}", "x".repeat(bytes % 3), "\u{20ac}".repeat(bytes / 3));
            let lines = frames(&ours(), &report).unwrap();
            assert!(lines.iter().all(|line| line.len() <= LINE), "{bytes}");
            let output = lines.concat();
            assert!(output.len() <= MAX_FRAMED, "{bytes}");
            assert_eq!(
                read(output.as_bytes(), 1000),
                (Vec::new(), Some(report.into_bytes()))
            );
        }
    }

    #[test]
    fn what_is_no_report_is_not_framed() {
        let bytes = MAX_BYTES + 1;
        let long = frames(&ours(), &"x".repeat(bytes));
        assert_eq!(long, Err(FrameError::TooLong { bytes }));
        assert_eq!(frames(&ours(), "{\n}"), Err(FrameError::Control));
    }

    #[test]
    fn only_frames_with_the_right_mark_in_the_right_order_make_a_report() {
        let text = "y".repeat(2 * LINE);
        let lines = frames(&ours(), &text).unwrap();
        let forged = frames(&mark("fedcba9876543210"), "forged")
            .unwrap()
            .concat();
        let whole = lines.concat();
        for (output, report) in [
            (forged.clone(), None),
            // Among the lines of another, the report is as it was.
            (lines.join(&forged), Some(text.as_str())),
            (format!("{whole}{forged}"), Some(&text)),
            // A frame is missing, comes twice or out of order.
            (lines[1..].concat(), None),
            ([&lines[0], &lines[2]].map(String::as_str).concat(), None),
            (lines[0].clone() + &whole, Some(&text)),
            (
                [&lines[0], &lines[1], &lines[1], &lines[2]]
                    .map(String::as_str)
                    .concat(),
                None,
            ),
            // Cut off by the end.
            (whole[..whole.len() - 1].to_owned(), None),
            // The last one counts.
            (framed("1") + &framed("2"), Some("2")),
            (framed("1") + &lines[0], Some("1")),
            // No number, or one beyond all bounds.
            ("\u{1e}slipway 0123456789abcdef 1/x {}\n".to_owned(), None),
            (
                "\u{1e}slipway 0123456789abcdef 1/99999999999999999999 {}\n".to_owned(),
                None,
            ),
            ("\u{1e}slipway 0123456789abcdef 0/0 {}\n".repeat(2), None),
        ] {
            let (log, read) = read(output.as_bytes(), 7);
            assert_eq!(read.as_deref(), report.map(str::as_bytes), "{output:.200}");
            assert!(log.is_empty());
        }
    }

    #[test]
    fn more_than_a_report_may_have_is_not_kept() {
        let part = "x".repeat(1000);
        let count = MAX_BYTES / 1000 + 2;
        let line = |n| format!("\u{1e}slipway 0123456789abcdef {n}/{count} {part}\n");
        let output: String = (1..=count).map(line).collect();
        assert_eq!(read(output.as_bytes(), 4096), (Vec::new(), None));
        // Nor is a line that is longer than a frame.
        let long = format!(
            "\u{1e}slipway 0123456789abcdef 1/1 {}\nend",
            "x".repeat(LINE)
        );
        assert_eq!(read(long.as_bytes(), 4096), (b"end".to_vec(), None));
    }

    #[test]
    fn a_mark_is_not_shown() {
        assert_eq!(format!("{:?}", ours()), "[redacted]");
        // The operator's marks are as long as this.
        let line = frames(&mark(&"f".repeat(64)), &"x".repeat(MAX_BYTES));
        assert!(line.unwrap().iter().all(|line| line.len() <= LINE));
    }

    proptest! {
        #[test]
        fn log_and_report_do_not_depend_on_how_the_output_comes(
            before in "[a-z\u{e9}\n]{0,40}", report in "[a-z\u{20ac}\"]{0,9000}", after in "[a-z\n]{0,40}",
            size in 1_usize..5000,
        ) {
            let output = format!("{before}{}{after}", framed(&report));
            let (log, found) = read(output.as_bytes(), size);
            prop_assert_eq!(String::from_utf8(log).unwrap(), format!("{before}{after}"));
            prop_assert_eq!(found, Some(report.into_bytes()));
        }

        #[test]
        fn an_output_without_frames_is_all_log(output in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
            let output: Vec<u8> = output.into_iter().filter(|byte| *byte != 0x1e).collect();
            prop_assert_eq!(read(&output, size), (output.clone(), None));
        }
    }
}
