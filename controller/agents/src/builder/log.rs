//! The log of a build for its readers: whole lines, indented as in Dokku and Heroku, without secrets and without cursor
//! movements.
//!
//! Headings (`----->`) and warnings (` !`) start at the margin, all other lines seven columns in. Colours are kept.
//! When a program overwrites a line with carriage returns, only the last state is shown, as on a terminal.

use std::io::Write;

use crate::builder::bounded::Bounded;
use slipway_base::text::{self, redact::Secrets};

/// Longest line that is shown, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// Writes the lines of a build's log.
pub(super) struct Log<'a> {
    out: Bounded<'a>,
    secrets: Secrets,
    pending: Vec<u8>,
    cut: bool,
}

impl<'a> Log<'a> {
    /// `most` limits the log's size in bytes, as the Docker Engine stores it; `None` sets no limit.
    pub(super) fn new(out: &'a mut dyn Write, most: Option<u64>, secrets: &[&str]) -> Self {
        Self {
            out: Bounded::new(out, most),
            secrets: Secrets::of(secrets.iter().copied()),
            pending: Vec::new(),
            cut: false,
        }
    }

    /// `-----> …`
    pub(super) fn heading(&mut self, text: &str) {
        self.write(&format!("-----> {text}"));
    }

    /// A line of detail, indented by seven blanks.
    pub(super) fn detail(&mut self, text: &str) {
        self.write(&format!("       {text}"));
    }

    /// ` !     …`
    pub(super) fn warning(&mut self, text: &str) {
        self.write(&format!(" !     {text}"));
    }

    /// A warning with empty ` !` lines around it, so that it stands out at the end of a failed build's log.
    pub(super) fn error(&mut self, text: &str) {
        self.write(" !");
        for line in text.lines() {
            self.warning(line);
        }
        self.write(" !");
    }

    /// A text without secrets.
    pub(super) fn redact(&self, text: &str) -> String {
        self.secrets.redact(text)
    }

    /// Whether a text holds a secret. Short secrets do not count: they may be ordinary words.
    pub(super) fn has_leaked(&self, text: &str) -> bool {
        self.secrets.has_leaked(text)
    }

    /// The output of a program; it may be split anywhere.
    pub(super) fn output(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.keep(line);
            self.end_line();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// Ends the output of one program: a last line without a newline is written as a line, too.
    pub(super) fn finish_output(&mut self) {
        if !self.pending.is_empty() {
            self.end_line();
        }
    }

    /// Ends the log.
    pub(super) fn close(&mut self) {
        self.out.finish();
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        // The text before the last carriage return was overwritten.
        if let Some(at) = self
            .pending
            .iter()
            .rposition(|b| *b == b'\r')
            .filter(|at| at + 1 < self.pending.len())
        {
            self.pending.drain(..=at);
            self.cut = false;
        }
        // Reads more than is shown, so that a secret that crosses the cut is still recognised whole.
        let most = LONGEST_LINE + self.secrets.longest();
        if self.pending.len() > most {
            self.pending.truncate(most);
            self.cut = true;
        }
    }

    fn end_line(&mut self) {
        let mut bytes = std::mem::take(&mut self.pending);
        while bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if let Some(at) = bytes.iter().rposition(|b| *b == b'\r') {
            bytes.drain(..=at);
        }
        let mut text = self
            .secrets
            .redact(&plain(&String::from_utf8_lossy(&bytes)));
        let cut = std::mem::take(&mut self.cut);
        if cut {
            // Replacing secrets shortens the text. The end of the text may hold the start of a secret that was not
            // recognised, plus a part of a character.
            let unsure = self.secrets.longest() + char::MAX_LEN_UTF8;
            let sure = text.len().saturating_sub(unsure);
            shorten(&mut text, sure);
        }
        if cut || text.len() > LONGEST_LINE {
            shorten(&mut text, LONGEST_LINE);
            text.push_str(" […]");
        }
        self.put(&indented(&text));
    }

    fn write(&mut self, line: &str) {
        let line = self.secrets.redact(&plain(line));
        self.put(&line);
    }

    fn put(&mut self, line: &str) {
        self.out.line(line.trim_end());
    }
}

/// Cuts a text at `length` bytes, or just before if that position is within a character.
fn shorten(text: &mut String, length: usize) {
    text.truncate(text.floor_char_boundary(length));
}

/// Indents a line by seven columns. Headings, warnings, blank lines and lines that are indented that far stay as they
/// are.
fn indented(text: &str) -> String {
    let visible = without_colours(text);
    let at_margin = visible.starts_with("-----") || visible.starts_with("=====");
    let warning = visible.starts_with(" !");
    if at_margin || warning || visible.starts_with("       ") || visible.trim().is_empty() {
        text.to_owned()
    } else {
        format!("       {text}")
    }
}

/// Removes everything that moves the cursor or sets a title; keeps colours and tabs.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            if c != '\n' && text::is_visible(c) {
                out.push(c);
            }
            continue;
        }
        match chars.next() {
            Some('[') => {
                let mut sequence = String::new();
                let mut last = None;
                for c in chars.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&c) {
                        last = Some(c);
                        break;
                    }
                    sequence.push(c);
                }
                // A terminal obeys a control character within a sequence as it does elsewhere.
                if last == Some('m') && sequence.chars().all(text::is_visible) {
                    out.push_str("\u{1b}[");
                    out.push_str(&sequence);
                    out.push('m');
                }
            }
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' {
                        break;
                    }
                    if c == '\u{1b}' {
                        chars.next_if_eq(&'\\');
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    out
}

fn without_colours(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Log;

    fn log(pieces: &[&[u8]], secrets: &[&str]) -> String {
        let mut out = Vec::new();
        let mut log = Log::new(&mut out, None, secrets);
        for piece in pieces {
            log.output(piece);
        }
        log.finish_output();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_kind_of_line_stands_where_it_belongs() {
        let cases: &[(&str, &str)] = &[
            ("-----> Heading * here", "-----> Heading * here\n"),
            ("=====> Deploying", "=====> Deploying\n"),
            (" !     careful", " !     careful\n"),
            ("plain", "       plain\n"),
            ("  nested", "         nested\n"),
            ("       detail", "       detail\n"),
            ("         deeper", "         deeper\n"),
            ("\n", "\n"),
            ("a\n\nb", "       a\n\n       b\n"),
            ("windows\r\n", "       windows\n"),
            ("10%\r50%\r100%\n", "       100%\n"),
            ("10%\r50%\r", "       50%\n"),
            ("\u{1b}[1G-----> X\n", "-----> X\n"),
            ("\u{1b}[2K\u{1b}]0;title\u{7}x\u{8}", "       x\n"),
            (
                "\u{1b}[1;31m !     red\u{1b}[0m",
                "\u{1b}[1;31m !     red\u{1b}[0m\n",
            ),
            ("a\u{202e}b\u{200b}c", "       abc\n"),
            ("a\u{1b}[3\u{8}1mb", "       ab\n"),
            ("no newline", "       no newline\n"),
            ("caf\u{e9}\tx", "       caf\u{e9}\tx\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(&log(&[text.as_bytes()], &[]), expected, "{text:?}");
        }
    }

    #[test]
    fn what_the_engine_says_of_others_moves_no_cursor() {
        let mut out = Vec::new();
        let mut log = Log::new(&mut out, None, &[]);
        log.heading("\u{1b}[2J app detected");
        log.warning("\u{1b}]0;title\u{7}\u{202e}careful");
        log.error("one\ntwo\u{8}");
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(
            shown,
            "----->  app detected\n !     careful\n !\n !     one\n !     two\n !\n"
        );
    }

    #[test]
    fn secrets_are_replaced_line_by_line() {
        let secrets = [
            "hunter2-hunter2",
            "-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----",
            "short",
            "hunter2-",
            "42",
        ];
        let text = "x hunter2-hunter2 y\nAAAABBBBCCCC\nshort shortest hunter2- 42";
        let shown = log(&[text.as_bytes()], &secrets);
        assert_eq!(
            shown,
            "       x [redacted] y\n       [redacted]\n       [redacted] shortest [redacted] 42\n"
        );
    }

    #[test]
    fn a_secret_at_the_end_of_a_line_that_is_cut_is_not_shown() {
        let secret = "0123456789abcdef";
        for before in (64 * 1024 - 20)..(64 * 1024 + 20) {
            let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(100));
            let shown = log(&[text.as_bytes()], &[secret]);
            assert!(!shown.contains("01234567"), "{before}");
            assert!(shown.ends_with(" […]\n") && shown.len() < 64 * 1024 + 100);
        }
    }

    #[test]
    fn a_secret_that_is_cut_off_is_not_shown_where_others_before_it_made_room() {
        let secret = "0123456789abcdef".repeat(100);
        // Two secrets are whole and are replaced; of the third, only a part comes before the cut.
        for kept in (0..secret.len() + 40).step_by(7) {
            let before = 64 * 1024 + secret.len() - 2 * secret.len() - kept;
            let filler = "é".repeat(before / 2);
            let text = format!("{secret}{secret}{filler}{secret}{}", "y".repeat(5000));
            let shown = log(&[text.as_bytes()], &[&secret]);
            assert!(!shown.contains("0123456789"), "{kept}");
            assert!(shown.ends_with(" […]\n"), "{kept}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_output_comes(
            text in "([a-z -]|\r|\n|sesame-sesame|pa55){0,60}", cuts in proptest::collection::vec(0_usize..100, 0..6),
        ) {
            let secrets = ["sesame-sesame", "pa55"];
            let whole = log(&[text.as_bytes()], &secrets);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(log(&pieces, &secrets), whole.clone());
            prop_assert!(!whole.contains("sesame-sesame"));
            prop_assert!(!whole.split(|c: char| !c.is_alphanumeric()).any(|word| word == "pa55"));
        }
    }
}
