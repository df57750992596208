//! Which object is reconciled next.
//!
//! Objects are taken in the order in which they changed. One that changes while it waits keeps its place; one that
//! changes while it is being reconciled is queued again when that has ended. The objects that existed when the process
//! started, of which there may be ten thousand, take turns with those that have changed since, so that a new object does
//! not wait for all of them. So do the objects that are reconciled without any change ([`Rounds`]).

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher as _},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::time::{DelayQueue, delay_queue};

/// Why an object waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// It existed at the start, or it is looked at now and then.
    Existed,
    /// It has changed.
    Changed,
}

/// Objects that are to be reconciled, and those that are being reconciled.
#[derive(Debug)]
pub(super) struct Queue<K> {
    existed: VecDeque<K>,
    changed: VecDeque<K>,
    /// All that wait. A key in `existed` that is not here as [`Waits::Existed`] has been taken or has changed.
    waiting: HashMap<K, Waits>,
    /// What is being reconciled, and whether it has changed since that began.
    running: HashMap<K, bool>,
    is_turn_of_existed: bool,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// A queue of the objects that exist at the start.
    pub(super) fn new(existed: Vec<K>) -> Self {
        let waiting = existed.iter().map(|key| (key.clone(), Waits::Existed));
        Self {
            waiting: waiting.collect(),
            existed: existed.into(),
            changed: VecDeque::new(),
            running: HashMap::new(),
            is_turn_of_existed: false,
        }
    }

    /// An object has changed.
    pub(super) fn add(&mut self, key: K) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
        } else if self.waiting.insert(key.clone(), Waits::Changed) != Some(Waits::Changed) {
            self.changed.push_back(key);
        }
    }

    /// An object is reconciled in turn with those that have changed.
    pub(super) fn add_unchanged(&mut self, key: K) {
        if !self.running.contains_key(&key) && !self.waiting.contains_key(&key) {
            self.waiting.insert(key.clone(), Waits::Existed);
            self.existed.push_back(key);
        }
    }

    /// The next object; it counts as being reconciled until [`Self::done`].
    pub(super) fn next(&mut self) -> Option<K> {
        self.is_turn_of_existed = !self.is_turn_of_existed;
        let key = if self.is_turn_of_existed {
            self.next_existed().or_else(|| self.changed.pop_front())
        } else {
            let changed = self.changed.pop_front();
            changed.or_else(|| self.next_existed())
        }?;
        self.waiting.remove(&key);
        self.running.insert(key.clone(), false);
        Some(key)
    }

    fn next_existed(&mut self) -> Option<K> {
        let waiting = &self.waiting;
        std::iter::from_fn(|| self.existed.pop_front())
            .find(|key| waiting.get(key) == Some(&Waits::Existed))
    }

    /// The reconcile of this object has ended.
    pub(super) fn done(&mut self, key: &K) {
        if self.running.remove(key) == Some(true) {
            self.add(key.clone());
        }
    }

    /// How many objects are being reconciled.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether the object waits for its turn.
    pub(super) fn is_waiting(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }
}

/// How often each object is reconciled without any change, in case a watch missed something.
const ROUND: Duration = Duration::from_hours(1);
/// In how many parts, so that the objects are spread over the time.
const PARTS: u32 = 64;

/// The time of each object without any change. No object needs a timer for it.
#[derive(Debug)]
pub(super) struct Rounds {
    ticks: Interval,
    part: u64,
}

impl Rounds {
    /// Begins now.
    pub(super) fn new() -> Self {
        let part = ROUND / PARTS;
        let mut ticks = interval_at(Instant::now() + part, part);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, part: 0 }
    }

    /// Waits until it is the time of some objects. Returns which part of them that is.
    pub(super) async fn next(&mut self) -> u64 {
        self.ticks.tick().await;
        self.part = (self.part + 1) % u64::from(PARTS);
        self.part
    }

    /// Whether an object is in this part.
    pub(super) fn is_in(key: &impl Hash, part: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish() % u64::from(PARTS) == part
    }
}

/// Longest time until an object is queued again: the timer takes no more than two years.
const LONGEST: Duration = Duration::from_hours(24);

/// When objects are queued without having changed: one time for each.
#[derive(Debug)]
pub(super) struct Timers<K> {
    queue: DelayQueue<K>,
    keys: HashMap<K, delay_queue::Key>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            queue: DelayQueue::new(),
            keys: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// Queues the object after this time, unless it is queued earlier anyway.
    pub(super) fn within(&mut self, key: K, after: Duration) {
        let after = after.min(LONGEST);
        match self.keys.get(&key) {
            Some(timer) if self.queue.deadline(timer) > Instant::now() + after => {
                self.queue.reset(timer, after);
            }
            Some(_) => {}
            None => {
                let timer = self.queue.insert(key.clone(), after);
                self.keys.insert(key, timer);
            }
        }
    }

    /// The object has been queued.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(timer) = self.keys.remove(key) {
            self.queue.remove(&timer);
        }
    }

    /// The next object whose time has come.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<K>> {
        self.queue.poll_expired(context).map(|expired| {
            let key = expired?.into_inner();
            self.keys.remove(&key);
            Some(key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{PARTS, Queue, ROUND, Rounds, Timers};
    use futures::future::poll_fn;
    use std::time::Duration;
    use tokio::time::Instant;

    fn all(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn objects_are_taken_in_the_order_in_which_they_changed() {
        let mut queue = Queue::new(Vec::new());
        for key in ["c", "a", "b", "a", "c"] {
            queue.add(key);
        }
        assert_eq!(all(&mut queue), ["c", "a", "b"]);
        assert_eq!(queue.running(), 3);
        // Nothing is reconciled twice at the same time.
        queue.add("a");
        queue.add("a");
        assert_eq!(all(&mut queue), [""; 0]);
        queue.done(&"b");
        queue.done(&"a");
        assert_eq!(all(&mut queue), ["a"]);
        queue.done(&"a");
        queue.done(&"c");
        assert_eq!((all(&mut queue), queue.running()), (Vec::new(), 0));
    }

    #[test]
    fn what_existed_takes_turns_with_what_changes_and_comes_once() {
        let mut queue = Queue::new(vec!["1", "2", "3", "4", "5"]);
        assert_eq!(queue.next(), Some("1"));
        for key in ["new", "3", "1"] {
            queue.add(key);
        }
        assert!(queue.is_waiting(&"new") && !queue.is_waiting(&"1"));
        assert_eq!(all(&mut queue), ["new", "2", "3", "4", "5"]);
        queue.done(&"1");
        assert_eq!(all(&mut queue), ["1"]);
    }

    #[test]
    fn what_is_looked_at_now_and_then_waits_once() {
        let mut queue = Queue::new(Vec::new());
        queue.add("a");
        for key in ["a", "b", "b"] {
            queue.add_unchanged(key);
        }
        assert_eq!(queue.next(), Some("b"));
        queue.add_unchanged("b");
        assert_eq!(all(&mut queue), ["a"]);
        queue.done(&"b");
        assert_eq!(queue.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_object_has_its_time_once_in_a_round() {
        let (mut rounds, began) = (Rounds::new(), Instant::now());
        let mut times = [0; 200];
        for _ in 0..PARTS {
            let part = rounds.next().await;
            for (key, times) in times.iter_mut().enumerate() {
                *times += u32::from(Rounds::is_in(&key, part));
            }
        }
        assert_eq!((times, began.elapsed()), ([1; 200], ROUND));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_times_counts() {
        let mut timers = Timers::default();
        let second = Duration::from_secs(1);
        for (key, after) in [("a", 5), ("b", 3), ("a", 2), ("b", 9), ("c", 1)] {
            timers.within(key, after * second);
        }
        timers.cancel(&"c");
        timers.within("d", Duration::MAX);
        let began = Instant::now();
        for (key, at) in [("a", 2), ("b", 3), ("d", 24 * 3600)] {
            let next = poll_fn(|context| timers.poll_next(context)).await;
            assert_eq!((next, began.elapsed().as_secs()), (Some(key), at));
        }
    }
}
