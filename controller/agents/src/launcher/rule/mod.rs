//! Which process gets a stop signal, and when: the process tree at one moment → what to do now. Pure;
//! [`reaper`](crate::launcher::reaper) sends the signals.
//!
//! Shells and package managers only start other programs, so the programs below them get the signal instead, each once.
//! Two kinds of process get no signal at first: children of a program, which the program stops itself; and a process
//! that reads a pipe, which ends when its input ends. A shell that waits for a program is held with SIGSTOP, so that it
//! starts no next command, and is ended after that program. Once the process itself is gone, the same rule holds for
//! all processes that it left behind.

mod view;

use crate::launcher::process::{Id, Process};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use view::View;

/// How long a reader may run after its input has ended, and a package manager after its program has, before it gets the
/// signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// The launcher itself: the parent of every process that has lost its own.
const INIT: i32 = 1;

const SIGTERM: i32 = 15;

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

#[cfg(test)]
mod tests;
