//! Procfile text → process types, merged with the defaults of the last buildpack's `bin/release`. Pure.
//!
//! Commands stay as written: the shell interprets inline comments, quotes and `$PORT`.

use std::{borrow::Cow, collections::BTreeMap};

/// Longest name of a process type, in characters.
pub const NAME_MAX: usize = 63;
/// Most process types of a build.
pub const TYPES_MAX: usize = 64;
/// Longest command, in bytes.
pub const COMMAND_MAX: usize = 8192;
/// Most bytes of a Procfile.
pub const MAX_BYTES: u64 = 64 * 1024;

/// A process type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// A DNS label of at most [`NAME_MAX`] characters.
    pub name: String,
    /// Shell text.
    pub command: String,
}

/// An error in a Procfile, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcfileError {
    /// A line that is not `name: command`.
    #[error(
        "Procfile line {line}: {text:?} is no process type; write \"name: command\", and # in front of comments"
    )]
    Line {
        /// Counted from 1.
        line: usize,
        /// The beginning of the line.
        text: String,
    },
    /// A name without a command.
    #[error("Procfile line {line}: process type {name:?} has no command")]
    NoCommand {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// A command that seems to continue in the next line.
    #[error(
        "Procfile line {line}: the command of process type {name:?} ends in a backslash, and no command goes on in the next line: write it in one"
    )]
    Continued {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// Two kinds of line ends in one file.
    #[error(
        "Procfile line {line}: a carriage return stands within the line: save the file with one kind of line ends"
    )]
    CarriageReturn {
        /// Counted from 1.
        line: usize,
    },
    /// A name that an earlier line has already.
    #[error("Procfile line {line}: process type {name:?} stands in line {first} already{why}")]
    Duplicate {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
        /// The line that has it first.
        first: usize,
        /// Why the two names are the same, if they are written differently.
        why: &'static str,
    },
}

/// What a Procfile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// In the order of the file; empty if the file is.
    pub processes: Vec<Process>,
    /// Names of process types that are left out because no Kubernetes object can have such a name, with the reason.
    pub left_out: Vec<String>,
}

impl Declared {
    /// Whether the file declares nothing.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.left_out.is_empty()
    }
}

/// Reads a Procfile.
pub fn parse(text: &str) -> Result<Declared, ProcfileError> {
    let mut found: Vec<(usize, String, Process)> = Vec::new();
    let mut left_out = Vec::new();
    let text = unix_lines(text.strip_prefix('\u{feff}').unwrap_or(text));
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        if line.contains('\r') {
            return Err(ProcfileError::CarriageReturn { line: number });
        }
        let unreadable = || ProcfileError::Line {
            line: number,
            text: begin(line),
        };
        let (written, command) = line.split_once(':').ok_or_else(unreadable)?;
        let (written, command) = (written.trim_end(), command.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if written.is_empty() || !written.chars().all(plain) || command.contains('\0') {
            return Err(unreadable());
        }
        // A command that is only a comment runs nothing.
        if command.is_empty() || command.starts_with('#') {
            return Err(ProcfileError::NoCommand {
                line: number,
                name: written.to_owned(),
            });
        }
        let goes_on = || {
            text.lines()
                .skip(number)
                .any(|next| !next.trim().is_empty())
        };
        if command.ends_with('\\') && goes_on() {
            return Err(ProcfileError::Continued {
                line: number,
                name: written.to_owned(),
            });
        }
        let name = match name(written) {
            Ok(name) => name,
            Err(why) => {
                left_out.push(format!(
                    "Procfile line {number}: process type {:?} is left out: it {why}",
                    begin(written)
                ));
                continue;
            }
        };
        if let Some((first, before, _)) = found.iter().find(|(_, _, p)| p.name == name) {
            return Err(ProcfileError::Duplicate {
                line: number,
                name: written.to_owned(),
                first: *first,
                why: if before == written {
                    ""
                } else {
                    ": capitals become small, and _ becomes -"
                },
            });
        }
        let process = Process {
            name,
            command: command.to_owned(),
        };
        found.push((number, written.to_owned(), process));
    }
    Ok(Declared {
        processes: found.into_iter().map(|(_, _, process)| process).collect(),
        left_out,
    })
}

/// The text with `\n` at the end of each line, whatever line ends its editor writes.
pub fn unix_lines(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    let text = text.replace("\r\n", "\n");
    // A carriage return alone ends a line only in a file without `\n`.
    let others = text.trim_end_matches('\n').contains('\n');
    Cow::Owned(if others {
        text
    } else {
        text.replace('\r', "\n")
    })
}

/// The beginning of a text, for a message.
fn begin(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A process type's name in the cluster: lower case, with `-` for `_`.
pub fn name(written: &str) -> Result<String, String> {
    let name = written.to_ascii_lowercase().replace('_', "-");
    if name.len() > NAME_MAX {
        return Err(format!(
            "is too long: a name has at most {NAME_MAX} characters"
        ));
    }
    if name.is_empty() || name.starts_with('-') || name.ends_with('-') {
        return Err("does not begin and end with a letter or digit".to_owned());
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err("has characters other than letters, digits, - and _".to_owned());
    }
    Ok(name)
}

/// All process types of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Name → command.
    pub processes: BTreeMap<String, String>,
    /// Those that the Procfile declares, in its order.
    pub declared: Vec<String>,
    /// Those that only the buildpack declares.
    pub defaults: Vec<String>,
    /// Whether the buildpack's default `web` was left out because the Procfile has no `web`.
    pub without_web: bool,
    /// Names of defaults that are left out because no Kubernetes object can have such a name, with the reason.
    pub refused: Vec<(String, String)>,
}

/// The Procfile wins over the buildpack's defaults, type by type. If a Procfile has no `web`, the default `web` is left
/// out: otherwise the buildpack would give a web process to an app that has only workers.
pub fn merge(procfile: &Declared, defaults: &BTreeMap<String, String>) -> Merged {
    let mut merged = Merged {
        declared: procfile.processes.iter().map(|p| p.name.clone()).collect(),
        ..Merged::default()
    };
    for process in &procfile.processes {
        merged
            .processes
            .insert(process.name.clone(), process.command.clone());
    }
    for (written, command) in defaults {
        match name(written) {
            Err(why) => merged.refused.push((written.clone(), why)),
            Ok(name) if merged.processes.contains_key(&name) => {}
            Ok(name) if name == "web" && !procfile.is_empty() => merged.without_web = true,
            Ok(name) => {
                merged.processes.insert(name.clone(), command.clone());
                merged.defaults.push(name);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Declared, Merged, Process, merge, name, parse};

    fn types(text: &str) -> Vec<(String, String)> {
        parse(text)
            .unwrap()
            .processes
            .into_iter()
            .map(|p| (p.name, p.command))
            .collect()
    }

    #[test]
    fn each_legal_form_is_read() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("web: gunicorn app:app", &[("web", "gunicorn app:app")]),
            ("web:x\nworker : y", &[("web", "x"), ("worker", "y")]),
            (
                "\u{feff}web: x\r\nclock: y\r\n",
                &[("web", "x"), ("clock", "y")],
            ),
            ("web: x\rclock: y\r", &[("web", "x"), ("clock", "y")]),
            ("web: x\rclock: y\n", &[("web", "x"), ("clock", "y")]),
            ("web: x // y", &[("web", "x // y")]),
            ("# a\n  // b\n\n  web:\tx  \n", &[("web", "x")]),
            ("Send_Mail: x", &[("send-mail", "x")]),
            ("web: echo \"a # b\" # c", &[("web", "echo \"a # b\" # c")]),
            ("web: curl http://x # y", &[("web", "curl http://x # y")]),
            ("b: 1\na: 2", &[("b", "1"), ("a", "2")]),
            ("", &[]),
            ("# only a comment", &[]),
            ("web: x \\\n\n", &[("web", "x \\")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect();
            assert_eq!(types(text), expected, "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_line_and_what_to_do() {
        let cases = [
            (
                "web: x\nnonsense",
                "line 2: \"nonsense\" is no process type",
            ),
            ("<<<<<<< HEAD", "no process type"),
            ("we b: x", "no process type"),
            (": x", "no process type"),
            ("web:", "line 1: process type \"web\" has no command"),
            (
                "web: x\nworker: # none yet",
                "line 2: process type \"worker\" has no command",
            ),
            (
                "web: gunicorn \\\n  app:app",
                "line 1: the command of process type \"web\" ends in a backslash",
            ),
            (
                "web: x\rclock: y\nworker: z",
                "line 1: a carriage return stands within the line",
            ),
            (
                "web: x\nweb: y",
                "line 2: process type \"web\" stands in line 1 already",
            ),
            (
                "a_b: x\n\nA-b: y",
                "line 3: process type \"A-b\" stands in line 1 already: capitals",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_had_is_left_out_and_the_rest_counts() {
        let long = "x".repeat(64);
        for (line, expected) in [
            (
                "-web: x",
                "Procfile line 2: process type \"-web\" is left out: it does not begin",
            ),
            ("web_: x", "does not begin and end"),
            (
                &format!("{long}: x"),
                "is left out: it is too long: a name has at most 63",
            ),
        ] {
            let declared = parse(&format!("web: y\n{line}\nclock: z")).unwrap();
            let names: Vec<_> = declared.processes.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(names, ["web", "clock"], "{line}");
            assert_eq!(declared.left_out.len(), 1);
            let said = &declared.left_out[0];
            assert!(said.contains(expected) && said.len() < 400, "{said}");
        }
        let longest = "Send_weekly-".repeat(5) + "abc";
        assert_eq!(types(&format!("{longest}: x"))[0].0.len(), 63);
    }

    #[test]
    fn the_procfile_wins_and_decides_about_web() {
        let defaults = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let process = |name: &str| Process {
            name: name.into(),
            command: format!("own {name}"),
        };
        let release = defaults(&[("web", "default"), ("rake", "r"), ("a.name", "l")]);
        let declared = |names: &[&str]| Declared {
            processes: names.iter().map(|name| process(name)).collect(),
            ..Declared::default()
        };
        let merged = merge(&declared(&["web"]), &release);
        assert_eq!(merged.processes["web"], "own web");
        assert_eq!(merged.declared, ["web"]);
        assert_eq!(merged.defaults, ["rake"]);
        assert_eq!(merged.refused.len(), 1);
        assert!(!merged.without_web);

        let merged = merge(&declared(&["worker"]), &release);
        assert!(merged.without_web && !merged.processes.contains_key("web"));
        assert_eq!(merged.processes.len(), 2);

        let only_left_out = Declared {
            left_out: vec!["one".into()],
            ..Declared::default()
        };
        assert!(merge(&only_left_out, &release).without_web);

        let merged = merge(&declared(&[]), &release);
        assert_eq!(merged.processes["web"], "default");
        assert_eq!(merge(&declared(&[]), &BTreeMap::new()), Merged::default());
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_legal_and_unique(text in "(([a-zA-Z_-]{0,8}|web)[ ]?:?[ a-z#]{0,6}\n?){0,8}") {
            if let Ok(Declared { processes, .. }) = parse(&text) {
                let mut names: Vec<_> = processes.iter().map(|p| p.name.clone()).collect();
                for p in &processes {
                    prop_assert_eq!(name(&p.name), Ok(p.name.clone()));
                    prop_assert!(!p.command.trim().is_empty());
                }
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), processes.len());
            }
        }

        #[test]
        fn what_is_written_out_is_read_back(pairs in proptest::collection::btree_map("[a-z][a-z0-9]{0,62}", "[!-~]([ -~]{0,30}[!-~])?", 0..8)) {
            prop_assume!(pairs.values().all(|command| !command.starts_with('#') && !command.ends_with('\\')));
            let text: String = pairs.iter().map(|(n, c)| format!("{n}: {c}")).collect::<Vec<_>>().join("\n");
            let read: BTreeMap<_, _> = parse(&text).unwrap().processes.into_iter().map(|p| (p.name, p.command)).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
