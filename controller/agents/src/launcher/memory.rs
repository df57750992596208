//! Whether the kernel's OOM killer has killed a process in this container. The kubelet reports that only for PID 1.
//!
//! The launcher reads the kernel's count when a child dies by SIGKILL and, under cgroup v2, also when the kernel
//! reports that the file has changed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// For cgroup v2 and v1: the file with the count, and the file with the limit.
const FILES: [(&str, &str); 2] = [
    ("memory.events", "memory.max"),
    ("memory/memory.oom_control", "memory/memory.limit_in_bytes"),
];

#[derive(Debug)]
pub(super) struct Killed {
    file: File,
    limit: Option<u64>,
    count: u64,
}

impl Killed {
    /// `None` if the system has no such count.
    pub(super) fn watch(cgroup: &Path) -> Option<Self> {
        FILES.iter().find_map(|(events, limit)| {
            let file = File::open(cgroup.join(events)).ok()?;
            let mut killed = Self {
                file,
                limit: std::fs::read_to_string(cgroup.join(limit))
                    .ok()
                    .and_then(|text| text.trim().parse().ok()),
                count: 0,
            };
            killed.count = killed.read()?;
            Some(killed)
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The message, if the count has grown since the last call.
    pub(super) fn news(&mut self) -> Option<String> {
        let count = self.read()?;
        let more = count.checked_sub(self.count).filter(|more| *more > 0)?;
        self.count = count;
        Some(said(more, self.limit))
    }

    fn read(&self) -> Option<u64> {
        let mut buffer = [0; 1024];
        let length = self.file.read_at(&mut buffer, 0).ok()?;
        count(std::str::from_utf8(buffer.get(..length)?).ok()?)
    }
}

fn said(more: u64, limit: Option<u64>) -> String {
    let who = match more {
        1 => "a process".to_owned(),
        more => format!("{more} processes"),
    };
    // Without a limit, the kernel shows a number larger than any machine's memory.
    let limit = limit.filter(|bytes| *bytes < 1 << 50).map_or_else(
        || "the node has no memory left for".to_owned(),
        |bytes| format!("the memory limit ({} MiB) was reached by", bytes >> 20),
    );
    format!("the kernel has killed {who}, because {limit} this container; the others go on")
}

fn count(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_both_versions() {
        let v2 = "low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 1\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n";
        assert_eq!((count(v2), count(v1)), (Some(2), Some(4)));
        for text in ["", "oom_kill x", "oom_kill_disable 0\nunder_oom 0\n"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let cgroup = tempfile::tempdir().unwrap();
        assert!(Killed::watch(cgroup.path()).is_none());
        let set = |count: u64| {
            std::fs::write(
                cgroup.path().join("memory.events"),
                format!("oom_kill {count}\n"),
            )
            .unwrap();
        };
        set(1);
        std::fs::write(cgroup.path().join("memory.max"), "67108864\n").unwrap();
        let mut killed = Killed::watch(cgroup.path()).unwrap();
        assert_eq!(killed.news(), None);
        set(2);
        assert_eq!(
            killed.news().unwrap(),
            "the kernel has killed a process, because the memory limit (64 MiB) was reached by this container; the others go on"
        );
        assert_eq!(killed.news(), None);
        set(4);
        assert!(killed.news().unwrap().contains("2 processes"));
    }
}
