//! `/proc` → the processes that live at this moment.

use crate::launcher::process::{Id, Process, kind};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Most open files that are read of one process. They are its first ones, and pipes between programs are among those.
const FILES: usize = 256;

const INIT: i32 = 1;

/// All processes but the launcher itself. A process that ends while it is read is left out.
pub(super) fn read() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != INIT)
        .filter_map(process)
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let folder = format!("/proc/{pid}");
    let folder = Path::new(&folder);
    let stat = std::fs::read(folder.join("stat")).ok()?;
    let stat = Stat::parsed(&String::from_utf8_lossy(&stat))?;
    let exe = std::fs::read_link(folder.join("exe")).unwrap_or_default();
    let command_line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    let command_line = String::from_utf8_lossy(&command_line);
    let argv: Vec<&str> = command_line.split('\0').collect();
    // The kernel adds " (deleted)" to the path of an executable that was replaced after its start.
    let exe = exe.to_string_lossy();
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(&exe);
    let (reads, writes) = pipes(&folder.join("fd"));
    Some(Process {
        id: Id {
            pid,
            start: stat.start,
        },
        parent: stat.parent,
        group: stat.group,
        name: stat.name,
        kind: kind(exe, &argv),
        handles: stat.handles,
        ignores: stat.ignores,
        reads,
        writes,
    })
}

fn pipes(folder: &Path) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(folder).into_iter().flatten().take(FILES) {
        let Some(path) = entry.ok().map(|entry| entry.path()) else {
            continue;
        };
        let Some(pipe) = std::fs::read_link(&path)
            .ok()
            .and_then(|target| pipe(target.to_str()?))
        else {
            continue;
        };
        // The link's own mode says whether the file is open for reading or writing.
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.permissions().mode() & 0o400 != 0 {
            reads.insert(pipe);
        }
        if meta.permissions().mode() & 0o200 != 0 {
            writes.insert(pipe);
        }
    }
    (reads, writes)
}

fn pipe(target: &str) -> Option<u64> {
    target
        .strip_prefix("pipe:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: i32,
    group: i32,
    start: u64,
    handles: u64,
    ignores: u64,
}

impl Stat {
    /// `None` for a process that has ended. The name may hold blanks and brackets: it ends at the last bracket.
    fn parsed(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // proc_pid_stat(5) counts fields from 1; two fields come before these.
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        if matches!(field(3)?, "Z" | "X" | "x") {
            return None;
        }
        let mask = |number| field(number)?.parse::<u64>().ok();
        Some(Self {
            name: name
                .chars()
                .map(|c| {
                    if c == ' ' || c.is_ascii_graphic() {
                        c
                    } else {
                        '?'
                    }
                })
                .collect(),
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            ignores: mask(33)?,
            handles: mask(34)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_line() {
        let line = |name: &str, state: &str, ignored: u64, caught: u64| {
            format!(
                "42 ({name}) {state} 7 40 40 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 9876 10 11 12 \
                 1 1 0 0 0 0 0 {ignored} {caught} 0 0 0 17 1 0 0 0 0 0"
            )
        };
        let stat = Stat::parsed(&line("a) S (b\u{1b}", "S", 2, 16384)).unwrap();
        assert_eq!(
            stat,
            Stat {
                name: "a) S (b?".into(),
                parent: 7,
                group: 40,
                start: 9876,
                handles: 16384,
                ignores: 2,
            }
        );
        assert_eq!(Stat::parsed(&line("x", "Z", 0, 0)), None);
        assert_eq!(Stat::parsed("42 (x) S 7"), None);
        assert_eq!(Stat::parsed(""), None);
    }

    #[test]
    fn this_process_and_its_pipe_are_seen() {
        let (read, write) = std::io::pipe().unwrap();
        let me = process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.reads.intersection(&me.writes).count() >= 1, "{me:?}");
        drop((read, write));
        assert_eq!(process(i32::MAX), None);
    }
}
