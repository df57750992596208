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
    let mut found: Vec<Entry<'_>> = Vec::new();
    let mut left_out = Vec::new();
    let text = unix_lines(text.strip_prefix('\u{feff}').unwrap_or(text));
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        let entry = entry(index + 1, line)?;
        if entry.command.ends_with('\\') && goes_on(&text, entry.line) {
            return Err(ProcfileError::Continued {
                line: entry.line,
                name: entry.written.to_owned(),
            });
        }
        if let Err(why) = &entry.name {
            left_out.push(format!(
                "Procfile line {}: process type {:?} is left out: it {why}",
                entry.line,
                begin(entry.written)
            ));
            continue;
        }
        is_new(&entry, &found)?;
        found.push(entry);
    }
    let processes = found.into_iter().filter_map(Entry::process).collect();
    Ok(Declared {
        processes,
        left_out,
    })
}

/// A line that declares a process type.
struct Entry<'a> {
    /// Counted from 1.
    line: usize,
    written: &'a str,
    /// The type's name in the cluster, or why it cannot have one.
    name: Result<String, String>,
    command: &'a str,
}

impl Entry<'_> {
    fn process(self) -> Option<Process> {
        Some(Process {
            name: self.name.ok()?,
            command: self.command.to_owned(),
        })
    }
}

/// Reads `name: command`.
fn entry(number: usize, line: &str) -> Result<Entry<'_>, ProcfileError> {
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
    Ok(Entry {
        line: number,
        written,
        name: name(written),
        command,
    })
}

/// Whether anything comes after this line.
fn goes_on(text: &str, line: usize) -> bool {
    let mut rest = text.lines().skip(line);
    rest.any(|next| !next.trim().is_empty())
}

/// That no earlier line declares the same process type.
fn is_new(entry: &Entry<'_>, earlier: &[Entry<'_>]) -> Result<(), ProcfileError> {
    let Some(first) = earlier.iter().find(|one| one.name == entry.name) else {
        return Ok(());
    };
    Err(ProcfileError::Duplicate {
        line: entry.line,
        name: entry.written.to_owned(),
        first: first.line,
        why: if first.written == entry.written {
            ""
        } else {
            ": capitals become small, and _ becomes -"
        },
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
mod tests;
