//! Which look-up comes next. Pure.
//!
//! Namespaces take turns: one that asks for a thousand Apps delays the others by no more than one look-up at a time. A
//! server may take only some of the places, so that one which does not answer delays only the Apps that use it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many look-ups run at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: usize,
    /// For one server.
    pub(super) host: usize,
    /// For one namespace.
    pub(super) namespace: usize,
}

/// Look-ups that wait, and those that run.
#[derive(Debug)]
pub(super) struct Queue<T> {
    limits: Limits,
    /// Waiting look-ups by namespace, in the order in which they were asked for.
    waiting: BTreeMap<String, VecDeque<Job<T>>>,
    /// Namespaces with waiting look-ups, the next one first.
    turns: VecDeque<String>,
    running: BTreeMap<String, Place>,
}

/// A look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job<T> {
    /// The App.
    pub(super) id: String,
    pub(super) place: Place,
    /// What to look up.
    pub(super) what: T,
}

/// The places that a look-up takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) host: String,
}

impl<T> Queue<T> {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            running: BTreeMap::new(),
        }
    }

    /// Asks for a look-up. If one for the same App is waiting, it keeps its turn and takes over the new `what`; while
    /// one is running, the request is dropped. Returns whether there was neither.
    pub(super) fn ask(&mut self, job: Job<T>) -> bool {
        if self.running.contains_key(&job.id) {
            return false;
        }
        let namespace = &job.place.namespace;
        if !self.waiting.contains_key(namespace) {
            self.turns.push_back(namespace.clone());
        }
        let jobs = self.waiting.entry(namespace.clone()).or_default();
        let waiting = jobs.iter_mut().find(|waiting| waiting.id == job.id);
        let is_new = waiting.is_none();
        if let Some(waiting) = waiting {
            *waiting = job;
        } else {
            jobs.push_back(job);
        }
        is_new
    }

    /// The next look-up that may run now; it counts as running.
    pub(super) fn next(&mut self) -> Option<Job<T>> {
        if self.running.len() >= self.limits.total {
            return None;
        }
        let full: BTreeSet<&str> = self.full(|place| &place.host, self.limits.host);
        let busy: BTreeSet<&str> = self.full(|place| &place.namespace, self.limits.namespace);
        let (turn, position) = self
            .turns
            .iter()
            .enumerate()
            .find_map(|(turn, namespace)| {
                if busy.contains(namespace.as_str()) {
                    return None;
                }
                let mut jobs = self.waiting.get(namespace)?.iter();
                let position = jobs.position(|job| !full.contains(job.place.host.as_str()))?;
                Some((turn, position))
            })?;
        let namespace = self.turns.remove(turn)?;
        let jobs = self.waiting.get_mut(&namespace)?;
        let job = jobs.remove(position)?;
        if jobs.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.running.insert(job.id.clone(), job.place.clone());
        Some(job)
    }

    /// The look-up of this App has ended.
    pub(super) fn done(&mut self, id: &str) {
        self.running.remove(id);
    }

    /// The servers or namespaces whose places are all taken.
    fn full<'a>(&'a self, of: impl Fn(&'a Place) -> &'a String, most: usize) -> BTreeSet<&'a str> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for place in self.running.values() {
            *counts.entry(of(place)).or_default() += 1;
        }
        counts
            .into_iter()
            .filter(|(_, count)| *count >= most)
            .map(|(name, _)| name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Limits, Place, Queue};

    const LIMITS: Limits = Limits {
        total: 5,
        host: 2,
        namespace: 3,
    };

    fn queue(jobs: &[&str]) -> Queue<u32> {
        let mut queue = Queue::new(LIMITS);
        for job in jobs {
            queue.ask(of(job, 0));
        }
        queue
    }

    /// `namespace/app@host`.
    fn of(text: &str, what: u32) -> Job<u32> {
        let (app, host) = text.split_once('@').unwrap();
        let (namespace, _) = app.split_once('/').unwrap();
        Job {
            id: app.to_owned(),
            place: Place {
                namespace: namespace.to_owned(),
                host: host.to_owned(),
            },
            what,
        }
    }

    fn begin(queue: &mut Queue<u32>) -> Vec<String> {
        std::iter::from_fn(|| queue.next())
            .map(|job| job.id)
            .collect()
    }

    #[test]
    fn what_may_be_made_at_once() {
        for (waiting, begun) in [
            (&[][..], &[][..]),
            // In the order in which they were asked for.
            (&["a/2@x", "a/1@y"], &["a/2", "a/1"]),
            // A server has a limit; Apps that use another server are not delayed.
            (
                &["a/1@x", "a/2@x", "a/3@x", "a/4@y"],
                &["a/1", "a/2", "a/4"],
            ),
            (
                &["a/1@x", "a/2@x", "b/1@x", "b/2@y"],
                &["a/1", "b/1", "b/2"],
            ),
            // A namespace has a limit.
            (
                &["a/1@1", "a/2@2", "a/3@3", "a/4@4"],
                &["a/1", "a/2", "a/3"],
            ),
            // Namespaces take turns.
            (
                &["a/1@1", "a/2@2", "a/3@3", "b/1@4", "c/1@5"],
                &["a/1", "b/1", "c/1", "a/2", "a/3"],
            ),
            // All limits together.
            (
                &["a/1@1", "b/1@2", "c/1@3", "d/1@4", "e/1@5", "f/1@6"],
                &["a/1", "b/1", "c/1", "d/1", "e/1"],
            ),
        ] {
            assert_eq!(begin(&mut queue(waiting)), begun, "{waiting:?}");
        }
    }

    #[test]
    fn a_place_that_is_free_again_goes_to_whose_turn_it_is() {
        let mut queue = queue(&["a/1@x", "a/2@x", "a/3@x", "a/4@x", "b/1@x"]);
        assert_eq!(begin(&mut queue), ["a/1", "b/1"]);
        queue.done("b/1");
        queue.ask(of("b/2@x", 0));
        assert_eq!(begin(&mut queue), ["a/2"]);
        queue.done("a/1");
        assert_eq!(begin(&mut queue), ["b/2"]);
        // Nothing is left over.
        for id in ["a/2", "b/2", "a/3", "a/4"] {
            queue.done(id);
            begin(&mut queue);
        }
        assert!(queue.waiting.is_empty() && queue.turns.is_empty() && queue.running.is_empty());
    }

    #[test]
    fn an_app_waits_once_and_is_looked_up_once_at_a_time() {
        let mut queue = queue(&["a/1@x", "a/2@x", "a/3@x"]);
        assert_eq!(begin(&mut queue), ["a/1", "a/2"]);
        queue.ask(of("a/1@y", 1));
        queue.ask(of("a/3@y", 7));
        let job = queue.next().unwrap();
        assert_eq!(
            (job.id.as_str(), job.place.host.as_str(), job.what),
            ("a/3", "y", 7)
        );
        assert_eq!(queue.next(), None);
        queue.done("a/1");
        queue.ask(of("a/1@y", 1));
        assert_eq!(begin(&mut queue), ["a/1"]);
    }
}
