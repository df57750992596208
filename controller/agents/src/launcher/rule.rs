//! Which process gets a stop signal, and when: the process tree at one moment → what to do now. Pure;
//! [`reaper`](crate::launcher::reaper) sends the signals.
//!
//! Shells and package managers only start other programs, so the programs below them get the signal instead, each once.
//! Two kinds of process get no signal at first: children of a program, which the program stops itself; and a process
//! that reads a pipe, which ends when its input ends. A shell that waits for a program is held with SIGSTOP, so that it
//! starts no next command, and is ended after that program. Once the process itself is gone, the same rule holds for
//! all processes that it left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a reader may run after its input has ended, and a package manager after its program has, before it gets the
/// signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// The launcher itself: the parent of every process that has lost its own.
const INIT: i32 = 1;

const SIGTERM: i32 = 15;

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
    fn handles(&self, signal: i32) -> bool {
        self.handles & bit(signal) != 0
    }

    /// Whether the signal ends it: it neither handles nor ignores the signal.
    fn ends_by(&self, signal: i32) -> bool {
        (self.handles | self.ignores) & bit(signal) == 0
    }
}

fn bit(signal: i32) -> u64 {
    let shift = signal.checked_sub(1).and_then(|n| u32::try_from(n).ok());
    shift.and_then(|n| 1u64.checked_shl(n)).unwrap_or(0)
}

/// Which processes a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// The programs, as described at the top of this module.
    #[default]
    Tree,
    /// All processes of the process' group at once.
    Group,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send SIGSTOP, before the program that it waits for gets the signal.
    Hold(i32),
    Tell(i32),
    /// It was held, and the program that it waited for is gone: end it before it can continue.
    Release(i32),
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

/// The progress of a stop. Times are counted from its first signal.
#[derive(Debug)]
pub struct Course {
    reach: Reach,
    /// A shell that has a `trap` for this signal counts as a program.
    signal: i32,
    /// A shell with a `trap` that still runs after this time counts as not passing the signal on.
    late: Duration,
    told: BTreeMap<Id, Duration>,
    held: BTreeSet<Id>,
    /// When there was last a reason to leave the process alone.
    busy: BTreeMap<Id, Duration>,
    group_told: bool,
}

impl Course {
    pub fn new(reach: Reach, late: Duration) -> Self {
        Self {
            reach,
            signal: SIGTERM,
            late,
            told: BTreeMap::new(),
            held: BTreeSet::new(),
            busy: BTreeMap::new(),
            group_told: false,
        }
    }

    /// Another signal arrived: the processes that got the first one get this one as well.
    pub fn again(&mut self) {
        self.told.clear();
        self.group_told = false;
    }

    /// What to do now. `process` is the PID that the launcher started; it may be gone.
    pub fn step(&mut self, tree: &[Process], process: i32, now: Duration) -> Vec<Act> {
        let lives = tree.iter().any(|one| one.id.pid == process);
        let mut view = View {
            tree,
            course: self,
            now,
            heads: Vec::new(),
            holds: Vec::new(),
            releases: Vec::new(),
            fed: Vec::new(),
            waiting: false,
        };
        match view.course.reach {
            Reach::Group => view.group(process, lives),
            Reach::Tree if lives => {
                view.walk(process);
            }
            Reach::Tree => {
                for one in tree.iter().filter(|one| one.parent == INIT) {
                    view.walk(one.id.pid);
                }
            }
        }
        let View {
            mut heads,
            holds,
            releases,
            fed,
            waiting,
            ..
        } = view;
        if heads.is_empty() && releases.is_empty() && !waiting {
            // Only readers are left: they feed each other, or a process that gets no signal feeds them.
            heads = fed;
        }
        let Self { told, held, .. } = self;
        let mut acts = Vec::new();
        for id in holds {
            // A process that got the signal is already ending.
            if !told.contains_key(&id) && held.insert(id) {
                acts.push(Act::Hold(id.pid));
            }
        }
        let mut first = |id: Id| {
            let new = !told.contains_key(&id);
            told.entry(id).or_insert(now);
            new
        };
        let tells = heads.into_iter().filter(|id| first(*id));
        acts.extend(tells.map(|id| Act::Tell(id.pid)).collect::<Vec<_>>());
        let ends = releases.into_iter().filter(|id| first(*id));
        acts.extend(ends.map(|id| Act::Release(id.pid)));
        acts
    }
}

/// The processes that get a signal which stops nothing, for example a reload.
pub fn programs(tree: &[Process], process: i32, signal: i32) -> Vec<i32> {
    let mut course = Course::new(Reach::Tree, Duration::MAX);
    course.signal = signal;
    let acts = course.step(tree, process, Duration::ZERO);
    acts.into_iter()
        .filter_map(|act| match act {
            Act::Tell(pid) => Some(pid),
            Act::Hold(_) | Act::Release(_) => None,
        })
        .collect()
}

struct View<'a> {
    tree: &'a [Process],
    course: &'a mut Course,
    now: Duration,
    heads: Vec<Id>,
    holds: Vec<Id>,
    releases: Vec<Id>,
    fed: Vec<Id>,
    /// A process is left alone only until its `PATIENCE` ends.
    waiting: bool,
}

impl View<'_> {
    fn group(&mut self, process: i32, lives: bool) {
        if lives && self.course.group_told {
            return;
        }
        self.course.group_told = true;
        let tree = self.tree.iter();
        self.heads = tree
            .filter(|one| !lives || one.group == process || one.id.pid == process)
            .map(|one| one.id)
            .collect();
    }

    /// Visits one process and those below it. Returns whether a process among them gets or got the signal and still
    /// lives.
    fn walk(&mut self, pid: i32) -> bool {
        let tree = self.tree;
        let Some(one) = tree.iter().find(|one| one.id.pid == pid) else {
            return false;
        };
        let starts = match one.kind {
            Kind::Program => false,
            Kind::Shell => !one.handles(self.course.signal),
            Kind::Starter => true,
        };
        if !starts {
            if self.is_fed(one, false) {
                self.leave(one.id);
                self.fed.push(one.id);
                return false;
            }
            if self.is_left(one.id) {
                return false;
            }
            self.heads.push(one.id);
            if one.kind == Kind::Shell && self.is_late(one.id) {
                self.below(one);
            }
            return true;
        }
        let reads = self.is_fed(one, true);
        if self.below(one) {
            self.leave(one.id);
            if one.kind == Kind::Shell && one.ends_by(SIGTERM) && !reads {
                self.holds.push(one.id);
            }
            return true;
        }
        if self.course.held.contains(&one.id) {
            self.releases.push(one.id);
            return true;
        }
        if reads {
            self.leave(one.id);
            self.fed.push(one.id);
            return false;
        }
        if self.is_left(one.id) {
            return false;
        }
        self.heads.push(one.id);
        true
    }

    fn below(&mut self, one: &Process) -> bool {
        let (tree, mut any) = (self.tree, false);
        for child in tree.iter().filter(|c| c.parent == one.id.pid) {
            any |= self.walk(child.id.pid);
        }
        any
    }

    /// Whether another process writes the pipe that this one reads. `own` says whether its own children count: they do
    /// for a shell that reads their output; a program deals with its children itself.
    fn is_fed(&self, one: &Process, own: bool) -> bool {
        let mut writers = self.tree.iter().filter(|other| {
            other.id != one.id && one.reads.iter().any(|pipe| other.writes.contains(pipe))
        });
        writers.any(|other| own || !self.is_below(other, one))
    }

    fn is_below(&self, one: &Process, other: &Process) -> bool {
        let mut at = one;
        // No path in a tree is longer than the number of processes.
        for _ in self.tree {
            if at.parent == other.id.pid {
                return true;
            }
            match self.tree.iter().find(|up| up.id.pid == at.parent) {
                Some(up) => at = up,
                None => return false,
            }
        }
        false
    }

    fn leave(&mut self, id: Id) {
        self.course.busy.insert(id, self.now);
    }

    fn is_left(&mut self, id: Id) -> bool {
        let since = self.course.busy.get(&id);
        let left = since.is_some_and(|since| self.now.saturating_sub(*since) < PATIENCE);
        self.waiting |= left;
        left
    }

    fn is_late(&self, id: Id) -> bool {
        let told = self.course.told.get(&id);
        told.is_some_and(|told| self.now.saturating_sub(*told) >= self.course.late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Act::{Hold, Release, Tell};
    use OnTerm::{Ends, Handles, Ignores};

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum OnTerm {
        Ends,
        Ignores,
        Handles,
    }

    /// `sh` and `npm` get their own kinds; all other names are programs.
    fn process(pid: i32, parent: i32, name: &str, on_term: OnTerm) -> Process {
        Process {
            id: Id { pid, start: 0 },
            parent,
            group: 2,
            name: name.to_owned(),
            kind: kind(name, &[name]),
            handles: if on_term == Handles { bit(SIGTERM) } else { 0 },
            ignores: if on_term == Ignores { bit(SIGTERM) } else { 0 },
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        }
    }

    fn pipe(tree: &mut [Process], number: u64, from: i32, to: i32) {
        for one in tree {
            if one.id.pid == from {
                one.writes.insert(number);
            }
            if one.id.pid == to {
                one.reads.insert(number);
            }
        }
    }

    fn course() -> Course {
        Course::new(Reach::Tree, Duration::from_secs(10))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn without(tree: &[Process], pid: i32) -> Vec<Process> {
        let rest = tree.iter().filter(|one| one.id.pid != pid).cloned();
        rest.map(|one| Process {
            parent: if one.parent == pid { 1 } else { one.parent },
            ..one
        })
        .collect()
    }

    #[test]
    fn what_starts_others_is_known_by_executable_and_command_line() {
        for (exe, argv, expected) in [
            ("/usr/bin/dash", &["/bin/sh", "./start.sh"][..], Kind::Shell),
            ("/bin/busybox", &["sh", "-c", "x"], Kind::Shell),
            ("/bin/busybox", &["-ash"], Kind::Shell),
            ("/bin/busybox", &["httpd", "-f"], Kind::Program),
            ("", &["/bin/bash", "x"], Kind::Shell),
            ("/usr/bin/node", &["npm start", "", ""], Kind::Starter),
            ("/usr/bin/node", &["npm exec node server.js"], Kind::Starter),
            (
                "/usr/bin/node",
                &["node", "/x/pnpm.cjs", "start"],
                Kind::Starter,
            ),
            (
                "/usr/bin/node",
                &["node", "-r", "/x/yarn.js", "start"],
                Kind::Starter,
            ),
            (
                "/usr/bin/node",
                &["node", "/a/yarn-4.9.1.cjs", "start"],
                Kind::Starter,
            ),
            (
                "/usr/bin/node",
                &["node", "/x/npm-run-all.js"],
                Kind::Program,
            ),
            ("/usr/bin/node", &["node", "server.js"], Kind::Program),
            (
                "/usr/bin/node",
                &["node", "--inspect", "yarn-shop.js"],
                Kind::Program,
            ),
            ("/opt/pnpm", &["pnpm", "start"], Kind::Starter),
            ("/usr/bin/timeout", &["timeout", "9", "x"], Kind::Starter),
            ("/usr/bin/python3", &["python3", "npm"], Kind::Program),
            ("", &[], Kind::Program),
        ] {
            assert_eq!(kind(exe, argv), expected, "{exe} {argv:?}");
        }
    }

    #[test]
    fn the_program_behind_a_package_manager_is_told_alone_and_once() {
        let tree = [
            process(2, 1, "npm", Handles),
            process(3, 2, "sh", Ends),
            process(4, 3, "server", Handles),
            process(5, 4, "child", Ends),
        ];
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Hold(3), Tell(4)]);
        assert_eq!(course.step(&tree, 2, at(1)), []);
        // The child has outlived its parent and gets no signal until the process itself has ended.
        let tree = without(&tree, 4);
        assert_eq!(course.step(&tree, 2, at(2)), [Release(3)]);
        let tree = without(&tree, 3);
        assert_eq!(course.step(&tree, 2, at(2)), []);
        let tree = without(&tree, 2);
        assert_eq!(course.step(&tree, 2, at(3)), [Tell(5)]);
        assert_eq!(course.step(&tree, 2, at(4)), []);
    }

    #[test]
    fn a_package_manager_that_does_not_end_with_its_program_is_told_later() {
        let tree = [process(2, 1, "npm", Handles), process(3, 2, "server", Ends)];
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(3)]);
        let tree = without(&tree, 3);
        assert_eq!(course.step(&tree, 2, at(1)), []);
        assert_eq!(course.step(&tree, 2, at(2)), [Tell(2)]);
    }

    #[test]
    fn a_shell_that_runs_nothing_or_only_readers_is_told_itself() {
        let alone = [process(2, 1, "sh", Ends)];
        assert_eq!(course().step(&alone, 2, at(0)), [Tell(2)]);
        // exec > >(tee log); while :; do :; done
        let mut tree = [process(2, 1, "sh", Ends), process(3, 2, "tee", Ends)];
        pipe(&mut tree, 7, 2, 3);
        assert_eq!(course().step(&tree, 2, at(0)), [Tell(2)]);
    }

    #[test]
    fn all_programs_of_a_shell_are_told() {
        let tree = [
            process(2, 1, "sh", Ends),
            process(3, 2, "web", Handles),
            process(4, 2, "sh", Ends),
            process(5, 4, "worker", Handles),
            process(6, 1, "daemon", Handles),
        ];
        let mut course = course();
        assert_eq!(
            course.step(&tree, 2, at(0)),
            [Hold(4), Hold(2), Tell(3), Tell(5)]
        );
        let tree = without(&tree, 3);
        assert_eq!(course.step(&tree, 2, at(1)), []);
        let tree = without(&tree, 5);
        assert_eq!(course.step(&tree, 2, at(1)), [Release(4)]);
        let tree = without(&tree, 4);
        assert_eq!(course.step(&tree, 2, at(1)), [Release(2)]);
        let tree = without(&tree, 2);
        assert_eq!(course.step(&tree, 2, at(1)), [Tell(6)]);
    }

    #[test]
    fn a_reader_ends_by_its_inputs_end() {
        // server | (while read) | cat
        let mut tree = vec![
            process(2, 1, "sh", Ends),
            process(3, 2, "server", Handles),
            process(4, 2, "sh", Ends),
            process(5, 2, "cat", Ends),
        ];
        pipe(&mut tree, 7, 3, 4);
        pipe(&mut tree, 8, 4, 5);
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
        let tree = without(&tree, 3);
        assert_eq!(course.step(&tree, 2, at(1)), [Release(2)]);
        let tree = without(&tree, 2);
        assert_eq!(course.step(&tree, 2, at(1)), []);
        // The reader's input has ended but it still runs, so the readers that it feeds still wait.
        assert_eq!(course.step(&tree, 2, at(3)), [Tell(4)]);
        let tree = without(&tree, 4);
        assert_eq!(course.step(&tree, 2, at(4)), []);
        assert_eq!(course.step(&tree, 2, at(5)), [Tell(5)]);
    }

    #[test]
    fn a_shell_that_reads_what_its_program_says_is_not_stopped() {
        // while read; do …; done < <(server)
        let mut tree = vec![process(2, 1, "sh", Ends), process(3, 2, "server", Handles)];
        pipe(&mut tree, 7, 3, 2);
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(3)]);
        let tree = without(&tree, 3);
        assert_eq!(course.step(&tree, 2, at(1)), []);
        assert_eq!(course.step(&tree, 2, at(3)), [Tell(2)]);
    }

    #[test]
    fn readers_of_each_other_are_told_all() {
        let mut tree = vec![
            process(2, 1, "sh", Ends),
            process(3, 2, "a", Ends),
            process(4, 2, "b", Ends),
        ];
        pipe(&mut tree, 7, 3, 4);
        pipe(&mut tree, 8, 4, 3);
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
        let tree = without(&tree, 2);
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(3), Tell(4)]);
    }

    #[test]
    fn a_programs_children_are_its_own_whatever_they_write_to_it() {
        let mut tree = vec![
            process(2, 1, "celery", Handles),
            process(3, 2, "celery", Ends),
        ];
        pipe(&mut tree, 7, 3, 2);
        pipe(&mut tree, 8, 2, 3);
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
        assert_eq!(course.step(&tree, 2, at(29)), []);
    }

    #[test]
    fn a_trap_has_its_time_to_pass_the_signal_on() {
        let tree = [
            process(2, 1, "sh", Handles),
            process(3, 2, "server", Handles),
        ];
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
        assert_eq!(course.step(&tree, 2, at(9)), []);
        assert_eq!(course.step(&tree, 2, at(10)), [Tell(3)]);
        assert_eq!(course.step(&tree, 2, at(11)), []);
    }

    #[test]
    fn a_shell_that_ignores_the_signal_is_not_stopped() {
        let tree = [process(2, 1, "sh", Ignores), process(3, 2, "server", Ends)];
        assert_eq!(course().step(&tree, 2, at(0)), [Tell(3)]);
    }

    #[test]
    fn the_group_is_told_at_once_and_the_rest_after_the_process() {
        let mut tree = vec![
            process(2, 1, "sh", Ends),
            process(3, 2, "server", Handles),
            process(4, 1, "daemon", Handles),
        ];
        tree[2].group = 4;
        let mut course = Course::new(Reach::Group, at(10));
        assert_eq!(course.step(&tree, 2, at(0)), [Tell(2), Tell(3)]);
        tree.push(process(5, 3, "helper", Ends));
        assert_eq!(course.step(&tree, 2, at(1)), []);
        let tree = without(&tree, 2);
        assert_eq!(course.step(&tree, 2, at(2)), [Tell(4), Tell(5)]);
    }

    #[test]
    fn another_signal_reaches_those_that_had_the_first() {
        let tree = [process(2, 1, "sh", Ends), process(3, 2, "server", Handles)];
        let mut course = course();
        assert_eq!(course.step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
        course.again();
        assert_eq!(course.step(&tree, 2, at(1)), [Tell(3)]);
    }

    #[test]
    fn a_trap_counts_for_its_own_signal() {
        let mut tree = [process(2, 1, "sh", Ends), process(3, 2, "sleep", Ends)];
        assert_eq!(programs(&tree, 2, 1), [3]);
        tree[0].handles = bit(1);
        assert_eq!(programs(&tree, 2, 1), [2]);
        assert_eq!(course().step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
    }

    proptest::proptest! {
        /// For any tree: no process gets the signal twice, and every process gets it in the end.
        #[test]
        fn nobody_is_told_twice_and_nobody_is_forgotten(
            parents in proptest::collection::vec((0usize..8, 0u8..4, 0u8..3), 1..8),
            pipes in proptest::collection::vec((0i32..8, 0i32..8), 0..6),
        ) {
            let mut tree: Vec<Process> = Vec::new();
            for (n, (parent, name, on_term)) in parents.iter().enumerate() {
                let pid = i32::try_from(n).unwrap() + 2;
                let parent = if n == 0 { 1 } else { i32::try_from(parent % n).unwrap() + 2 };
                let name = ["sh", "npm", "server", "cat"][usize::from(*name)];
                tree.push(process(pid, parent, name, [Ends, Ignores, Handles][usize::from(*on_term)]));
            }
            for (n, (from, to)) in pipes.iter().enumerate() {
                pipe(&mut tree, u64::try_from(n).unwrap(), from + 2, to + 2);
            }
            let mut course = course();
            let mut told = BTreeSet::new();
            let mut now = 0;
            while !tree.is_empty() {
                let acts = course.step(&tree, 2, at(now));
                for act in &acts {
                    if let Tell(pid) | Release(pid) = act {
                        proptest::prop_assert!(told.insert(*pid), "{pid} twice");
                    }
                }
                // Processes that got the signal end, one at a time.
                let ends = tree.iter().map(|one| one.id.pid).find(|pid| told.contains(pid));
                if let Some(pid) = ends {
                    tree = without(&tree, pid);
                }
                now += 1;
                proptest::prop_assert!(now < 100, "left: {tree:?}");
            }
        }
    }
}
