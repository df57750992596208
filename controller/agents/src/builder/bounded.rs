//! Limits the log of a build to a number of bytes. Lines are written at once until three quarters of the limit are
//! used. Of all later lines, the last quarter is held back and written at the end, because it says why a build failed.
//!
//! The Docker Engine stores a time with each line and silently drops the oldest lines of a log that grows too long. The
//! limit is low enough that this never happens.

use std::{collections::VecDeque, io::Write};

/// What a line costs beside its own bytes: the data that the Docker Engine stores with it.
const LINE: usize = 100;

/// Writes lines within the limit.
pub(super) struct Bounded<'a> {
    out: &'a mut dyn Write,
    /// Bytes that may still be written at once.
    left: usize,
    /// Most bytes that may be held back.
    most: usize,
    /// The held-back lines, each with its newline, and their cost.
    held: VecDeque<u8>,
    cost: usize,
    dropped: usize,
    cut: bool,
}

impl<'a> Bounded<'a> {
    /// Keeps lines that cost at most `most` bytes together; `None` keeps all.
    pub(super) fn new(out: &'a mut dyn Write, most: Option<u64>) -> Self {
        let all = most.map_or(usize::MAX, |most| {
            usize::try_from(most).unwrap_or(usize::MAX)
        });
        Self {
            out,
            left: all - all / 4,
            most: all / 4,
            held: VecDeque::new(),
            cost: 0,
            dropped: 0,
            cut: false,
        }
    }

    /// Writes or holds back one line.
    pub(super) fn line(&mut self, line: &str) {
        let cost = line.len().saturating_add(LINE);
        if !self.cut && cost <= self.left {
            self.left -= cost;
            self.write(format!("{line}\n").as_bytes());
            return;
        }
        if !self.cut {
            self.cut = true;
            self.write(b" !     The log is longer than is kept: of what follows the end is shown, at the end\n");
        }
        self.held.extend(line.as_bytes());
        self.held.push_back(b'\n');
        self.cost = self.cost.saturating_add(cost);
        while self.cost > self.most {
            let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
                break;
            };
            self.held.drain(..=end);
            self.dropped += end + 1;
            self.cost = self.cost.saturating_sub(end + LINE);
        }
    }

    /// Ends the log: writes the held-back lines.
    pub(super) fn finish(&mut self) {
        if self.dropped > 0 {
            let dropped = self.dropped;
            self.write(format!(" !     {dropped} bytes of the log were dropped here\n").as_bytes());
        }
        let held = std::mem::take(&mut self.held);
        let (one, two) = held.as_slices();
        self.write(one);
        self.write(two);
        self.cost = 0;
        self.dropped = 0;
    }

    fn write(&mut self, bytes: &[u8]) {
        // If nobody reads the log, the build still goes on: its result counts.
        let _ = self.out.write_all(bytes);
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounded, LINE};
    use proptest::prelude::*;

    fn shown(lines: &[&str], most: Option<usize>) -> String {
        let mut out = Vec::new();
        let mut bounded = Bounded::new(&mut out, most.map(|most| most as u64));
        for line in lines {
            bounded.line(line);
        }
        bounded.finish();
        String::from_utf8(out).unwrap()
    }

    const CUT: &str =
        " !     The log is longer than is kept: of what follows the end is shown, at the end\n";

    #[test]
    fn of_too_many_lines_the_first_and_the_last_are_kept() {
        let lines = ["a1", "a2", "a3", "a4", "a5", "a6"];
        let all = "a1\na2\na3\na4\na5\na6\n";
        assert_eq!(shown(&lines, None), all);
        let each = 2 + LINE;
        assert_eq!(shown(&lines, Some(12 * each)), all);
        // No line is dropped; the last one is only written later.
        assert_eq!(
            shown(&lines, Some(7 * each)),
            format!("a1\na2\na3\na4\na5\n{CUT}a6\n")
        );
        assert_eq!(
            shown(&lines, Some(4 * each)),
            format!("a1\na2\na3\n{CUT} !     6 bytes of the log were dropped here\na6\n")
        );
        assert_eq!(
            shown(&lines, Some(0)),
            format!("{CUT} !     18 bytes of the log were dropped here\n")
        );
    }

    proptest! {
        #[test]
        fn no_more_goes_out_than_may(
            lines in proptest::collection::vec("x{0,300}", 0..40), most in 0_usize..4000,
        ) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let shown = shown(&lines, Some(most));
            let cost: usize = shown.lines().filter(|line| !line.starts_with(" !")).map(|line| line.len() + LINE).sum();
            prop_assert!(cost <= most, "{cost} of {most}");
            let kept: Vec<&str> = shown.lines().filter(|line| !line.starts_with(" !")).collect();
            let first = kept.iter().zip(&lines).take_while(|(a, b)| a == b).count();
            prop_assert!(lines.ends_with(&kept[first..]), "both ends");
            prop_assert_eq!(kept.len() == lines.len(), !shown.contains("dropped here"));
        }
    }
}
