//! The last lines of a log → the part of them that says why the program ended. Pure.
//!
//! The result goes into a status, where no log stands above it. So rules, headings, stack frames and the advice to look
//! above are left out.

use crate::text::line;

/// Most bytes of one quotation.
const LONGEST: usize = 300;

/// Why a build failed, in the words of its tools: the warning that the buildpack printed last. If there is no warning,
/// or if the warning points to the output above, the last line of that output is taken or added. Lines that repeat
/// `said`, the message that the status has anyway, are skipped.
pub fn of_build(lines: &[String], said: &str) -> Option<String> {
    let lines = before_message(lines, said);
    let (warning, before) = last_warning(lines);
    let words = Advice::of(&warning);
    let tool = if words.is_enough() {
        None
    } else {
        last_line(before)
    };
    joined(words.text, tool)
}

/// As [`of_build`], for a buildpack whose `bin/report` gives the reason, `detail`. If the last warning begins with
/// `detail`, the whole warning is taken. If `detail` points to the output above, the last line of that is added.
pub fn with_detail(detail: &str, lines: &[String], said: &str) -> Option<String> {
    let detail = line(detail, LONGEST);
    let (warning, before) = last_warning(before_message(lines, said));
    let begins = |first: &&str| line(first, LONGEST) == detail;
    if detail.trim().is_empty() || warning.first().is_some_and(begins) {
        return of_build(lines, said);
    }
    let words = Advice::of(&[detail.as_str()]);
    let tool = if words.is_enough() {
        None
    } else {
        last_line(before)
    };
    joined(words.text, tool)
}

fn joined(words: String, tool: Option<String>) -> Option<String> {
    match (words.is_empty(), tool) {
        (true, tool) => tool,
        (false, None) => Some(words),
        (false, Some(tool)) => Some(format!("{}: {tool}", words.trim_end_matches('.'))),
    }
}

/// The last line that says something. If Node.js ended the program, this is the error line before the stack trace.
pub fn last_line(lines: &[String]) -> Option<String> {
    let mut rest = lines
        .iter()
        .rev()
        .map(|line| line.trim())
        .filter(|line| !is_frame(line));
    let last = rest.next()?;
    let error = is_node_trailer(last)
        .then(|| rest.find(|line| is_error(line)))
        .flatten();
    Some(line(error.unwrap_or(last), LONGEST))
}

/// What is appended to `said`, the message about a Release's failure: the container's last line, unless `said` has it
/// already, and where the status has the lines before it.
pub fn of_release(lines: &[String], said: &str, release: &str) -> String {
    let Some(last) = last_line(lines).filter(|last| !said.contains(last)) else {
        return String::new();
    };
    let more = lines.iter().filter(|line| !line.trim().is_empty()).count() > 1;
    let more = if more {
        format!(" (more in status.failure.lastLines of Release {release})")
    } else {
        String::new()
    };
    format!("; last line: {last}{more}")
}

/// `lines` without those at the end that repeat `said`.
fn before_message<'a>(lines: &'a [String], said: &str) -> &'a [String] {
    let repeats = |line: &&String| {
        let line = unmarked(line).trim_end_matches('…');
        is_frame(line) || said.contains(line)
    };
    let count = lines.iter().rev().take_while(repeats).count();
    lines.get(..lines.len() - count).unwrap_or_default()
}

/// The warning at the end of the log, without its `!` marks, and the lines before it.
fn last_warning(lines: &[String]) -> (Vec<&str>, &[String]) {
    let count = lines
        .iter()
        .rev()
        .take_while(|line| line.trim().is_empty() || is_warning(line))
        .count();
    let (before, warning) = lines.split_at(lines.len() - count);
    let warning: Vec<&str> = warning
        .iter()
        .map(|line| unmarked(line))
        // The first paragraph of a warning says what is wrong.
        .skip_while(|line| is_frame(line))
        .take_while(|line| !is_frame(line))
        .collect();
    (warning, before)
}

/// A warning without the clauses that point to the output above it.
struct Advice {
    text: String,
    /// Whether such a clause was left out.
    pointed: bool,
}

impl Advice {
    fn of(lines: &[&str]) -> Self {
        let mut pointed = false;
        let mut kept = Vec::new();
        for text in lines {
            let clauses = text.split("; ");
            let own: Vec<&str> = clauses.filter(|clause| !points_above(clause)).collect();
            let own = own.join("; ");
            pointed |= own.len() < text.len();
            if !own.is_empty() {
                kept.push(own);
            }
        }
        Self {
            text: line(&kept.join(" "), LONGEST),
            pointed,
        }
    }

    fn is_enough(&self) -> bool {
        !self.text.is_empty() && !self.pointed
    }
}

/// Whether this clause tells the reader to look above.
fn points_above(clause: &str) -> bool {
    let mut words = clause.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word == "above")
}

fn is_warning(line: &str) -> bool {
    line.trim_start().starts_with('!')
}

/// A line without its indentation and its `!` mark.
fn unmarked(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix('!').map_or(line, str::trim_start)
}

/// Whether a line says nothing by itself: a blank line, a rule or bracket, a heading, a stack frame, the path of npm's
/// log.
fn is_frame(line: &str) -> bool {
    let line = line.trim();
    let is_heading = line.starts_with("-----") || line.starts_with("=====");
    let is_of_stack = line.starts_with("at ") && (line.ends_with(')') || line.contains("://"));
    let is_of_npm = line.contains("A complete log of this run can be found in")
        || (line.starts_with("npm ") && line.ends_with("-debug-0.log"));
    is_heading || is_of_stack || is_of_npm || !line.chars().any(char::is_alphanumeric)
}

/// `Node.js v22.1.0`, the last line that Node.js writes when it ends a program.
fn is_node_trailer(line: &str) -> bool {
    line.strip_prefix("Node.js v")
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// `TypeError: …`, `Error [ERR_X]: …`.
fn is_error(line: &str) -> bool {
    let name = line.strip_prefix("Uncaught ").unwrap_or(line);
    let name = name.split([':', ' ']).next().unwrap_or_default();
    name.ends_with("Error") || name.ends_with("Exception")
}

#[cfg(test)]
mod tests {
    use super::{last_line, of_build, of_release, with_detail};
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const SAID: &str = "buildpack x failed to compile the X app (exit code 1)";

    #[test]
    fn of_a_failed_build_the_reason_is_quoted_and_not_the_frame() {
        let framed = |text: &str| lines(&format!("{text}\n !\n !     {SAID}\n !"));
        let cases = [
            // A pack without a warning: its tool's last line.
            (
                "-----> Installing\n       npm error code E401\n       npm error 401 Unauthorized - GET https://npm.example/x\n       npm error A complete log of this run can be found in: /tmp/_logs/2026-debug-0.log",
                "npm error 401 Unauthorized - GET https://npm.example/x",
            ),
            // A pack's own warning, which says what to do.
            (
                "-----> Using Python\n\n !     Python 3.9 is not available.\n !     Change it: echo 3.13 > .python-version\n",
                "Python 3.9 is not available. Change it: echo 3.13 > .python-version",
            ),
            // A warning that points to the output above.
            (
                "       ERROR: No matching distribution found for zz==1\n\n !     The requirements could not be installed; pip's own words are above.\n\n",
                "The requirements could not be installed: ERROR: No matching distribution found for zz==1",
            ),
            (
                "       ERROR: no zz\n !     See the log output above for more information.",
                "ERROR: no zz",
            ),
            // A warning of several paragraphs: the first one.
            (
                " !\n !     Error: Unable to install.\n !\n !     Something else.\n !\n",
                "Error: Unable to install.",
            ),
            // Nothing but headings.
            ("-----> X app detected", ""),
            ("", ""),
            ("       exit status 1\n\n       }\n", "exit status 1"),
        ];
        for (log, expected) in cases {
            let words = of_build(&framed(log), SAID).unwrap_or_default();
            assert_eq!(words, expected, "{log}");
        }
        // A message of several lines, one of them cut.
        let log = lines("       why\n !\n !     first\n !     sec…\n !");
        assert_eq!(of_build(&log, "first\nsecond").unwrap_or_default(), "why");
    }

    #[test]
    fn what_a_pack_reports_itself_comes_first() {
        let log = lines(
            "       npm error 404 Not Found\n !     npm ci failed; its words are above.\n !\n !     x\n !",
        );
        for (detail, expected) in [
            (
                "npm ci failed; its words are above.",
                "npm ci failed: npm error 404 Not Found",
            ),
            ("The lock file is not valid", "The lock file is not valid"),
            (" ", "npm ci failed: npm error 404 Not Found"),
        ] {
            assert_eq!(with_detail(detail, &log, "x").unwrap_or_default(), expected);
        }
        assert_eq!(
            with_detail("Why", &[], "x").as_deref(),
            Some("Why"),
            "a log that is gone"
        );
    }

    #[test]
    fn of_an_app_the_last_line_that_says_something_is_quoted() {
        for (log, expected) in [
            (
                "Traceback (most recent call last):\n  File \"x\"\nKeyError: 'PORT'\n\n",
                "KeyError: 'PORT'",
            ),
            (
                "/app/x.js:1\n^\n\nReferenceError: y is not defined\n    at Object.<anonymous> (/app/x.js:1:1)\n    at node:internal/main/run_main_module:36:49 {\n  code: 'X'\n}\n\nNode.js v22.14.0",
                "ReferenceError: y is not defined",
            ),
            ("listening\nNode.js v22.14.0", "Node.js v22.14.0"),
            ("a\n}\n", "a"),
            ("\n", ""),
        ] {
            assert_eq!(
                last_line(&lines(log)).unwrap_or_default(),
                expected,
                "{log}"
            );
        }
    }

    #[test]
    fn of_a_release_it_is_said_where_the_other_lines_are() {
        for (log, expected) in [
            (
                "one\ntwo",
                "; last line: two (more in status.failure.lastLines of Release hello-v2)",
            ),
            ("\ntwo\n", "; last line: two"),
            ("a\nweb: no port", ""),
            ("", ""),
        ] {
            let said = of_release(&lines(log), "web: no port came", "hello-v2");
            assert_eq!(said, expected, "{log}");
        }
    }

    proptest! {
        #[test]
        fn words_are_short_and_in_one_line(log in "( !|-----> |       )?[a-zA-Z above;:\n\u{1b}]{0,400}", said in "[a-z\n ]{0,20}") {
            let log = lines(&log);
            for words in [of_build(&log, &said), with_detail(&said, &log, "x"), last_line(&log)].into_iter().flatten() {
                let one_line = !words.contains(['\n', '\u{1b}']);
                prop_assert!(words.len() <= 2 * 300 + 2 && one_line);
            }
        }
    }
}
