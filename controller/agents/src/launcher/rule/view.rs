//! One look at the process tree → which processes get the signal now, which are held, and which are left alone.

use crate::launcher::process::{Id, Kind, Process};
use crate::launcher::rule::{Course, PATIENCE, SIGTERM};
use std::time::Duration;

/// One look at the tree during a stop, and what it says of each process.
pub(super) struct View<'a> {
    pub(super) tree: &'a [Process],
    pub(super) course: &'a mut Course,
    pub(super) now: Duration,
    pub(super) heads: Vec<Id>,
    pub(super) holds: Vec<Id>,
    pub(super) releases: Vec<Id>,
    pub(super) fed: Vec<Id>,
    /// A process is left alone only until its `PATIENCE` ends.
    pub(super) waiting: bool,
}

impl View<'_> {
    pub(super) fn group(&mut self, process: i32, lives: bool) {
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
    pub(super) fn walk(&mut self, pid: i32) -> bool {
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
