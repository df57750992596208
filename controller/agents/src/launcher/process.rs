//! What is known of a process at one moment, and its executable and command line → which kind it is.

use std::collections::BTreeSet;

/// A process at one moment. Zombies are not in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: Id,
    pub parent: i32,
    pub group: i32,
    /// For people: the name that the kernel shows.
    pub name: String,
    pub kind: Kind,
    /// The signals that it handles (by a handler or a `trap`) and those that it ignores. Signal n is bit n - 1.
    pub handles: u64,
    pub ignores: u64,
    /// The pipes that it can read and those that it can write.
    pub reads: BTreeSet<u64>,
    pub writes: BTreeSet<u64>,
}

/// The kernel reuses PIDs; a PID together with its start time is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub pid: i32,
    pub start: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Shell,
    /// Runs one program and ends when that program ends: package managers, `timeout`.
    Starter,
    Program,
}

impl Process {
    pub(super) fn handles(&self, signal: i32) -> bool {
        self.handles & bit(signal) != 0
    }

    /// Whether the signal ends it: it neither handles nor ignores the signal.
    pub(super) fn ends_by(&self, signal: i32) -> bool {
        (self.handles | self.ignores) & bit(signal) == 0
    }
}

pub(super) fn bit(signal: i32) -> u64 {
    let shift = signal.checked_sub(1).and_then(|n| u32::try_from(n).ok());
    shift.and_then(|n| 1u64.checked_shl(n)).unwrap_or(0)
}

/// The kind of a process, from its executable and its command line.
pub fn kind(exe: &str, argv: &[&str]) -> Kind {
    let first = argv.first().copied().unwrap_or_default();
    let name = match base(exe) {
        // All programs of busybox share one executable; the command line says which one this is.
        "" | "busybox" | "toybox" => base(first).trim_start_matches('-'),
        name => name,
    };
    match name {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" => Kind::Shell,
        "timeout" | "time" | "flock" | "xargs" => Kind::Starter,
        "node" | "nodejs" if manager(first) || script(argv).is_some_and(manager) => Kind::Starter,
        name if manager(name) => Kind::Starter,
        _ => Kind::Program,
    }
}

/// The script that an interpreter runs: its first argument that is not an option.
fn script<'a>(argv: &[&'a str]) -> Option<&'a str> {
    argv.iter()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .copied()
}

/// Whether this names a package manager: npm replaces its command line by `npm start`, the others run as scripts.
fn manager(text: &str) -> bool {
    let name = base(text.split(' ').next().unwrap_or_default());
    let name = [".js", ".cjs", ".mjs"]
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let release = name.strip_prefix("yarn-");
    matches!(
        name,
        "npm" | "npm-cli" | "npx" | "npx-cli" | "pnpm" | "pnpx" | "yarn" | "yarnpkg" | "corepack"
    ) || release.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
