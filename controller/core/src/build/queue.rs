//! All Builds → whose turn it is, and which ones a newer one overtakes. Pure.
//!
//! Namespaces take turns: of two waiting Builds, the one whose namespace has fewer running Builds begins first; if
//! equal, the one whose namespace has been without a place for longer. A namespace that makes many Builds delays only
//! itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    v1alpha1::{Build, BuildPhase},
};

use crate::{build::next::Turn, records};

/// What the queue reads of a Build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// UID.
    pub uid: String,
    /// The number of its Revision; 0, which comes before all others, if it has none.
    pub number: i64,
    /// When it was made, then namespace and name: the order in which Builds of different Apps begin.
    pub order: (Timestamp, String, String),
    /// Its App: namespace and UID.
    pub app: (String, String),
    /// The phase of the Build.
    pub phase: BuildPhase,
    /// Whether it cannot begin because something that it refers to is missing: then it delays no other Build.
    pub blocked: bool,
    /// When it freed its place, if it had one.
    pub left: Option<Timestamp>,
    /// Whether it is being deleted. A finalizer may keep it for ever, so it counts only while it really runs.
    pub leaving: bool,
}

impl Entry {
    /// The entry of a Build that came from an API server; `None` if its App does not control it.
    pub fn of(build: &Build) -> Option<Self> {
        records::owned(build).ok()?;
        let meta = &build.metadata;
        let status = build.status.as_ref();
        let blocked = build.is_for(types::READY, Reason::ReferenceMissing);
        Some(Self {
            uid: meta.uid.clone()?,
            number: build.spec.revision_number.unwrap_or_default(),
            order: (
                meta.creation_timestamp.as_ref()?.0,
                meta.namespace.clone()?,
                meta.name.clone()?,
            ),
            app: (meta.namespace.clone()?, build.spec.app.uid.clone()),
            phase: status.map(|status| status.phase).unwrap_or_default(),
            blocked,
            left: status
                .filter(|status| status.started_at.is_some())
                .and_then(|status| Some(status.finished_at.as_ref()?.0)),
            leaving: meta.deletion_timestamp.is_some(),
        })
    }
}

impl Entry {
    fn namespace(&self) -> &str {
        &self.order.1
    }

    /// The order in which Builds of one App begin: by their Revisions' numbers.
    fn place(&self) -> (i64, &(Timestamp, String, String)) {
        (self.number, &self.order)
    }
}

/// The name of a newer Build of the same App: one of a later Revision, or one of the same Revision that was made in a later
/// second.
pub fn overtaken_by(me: &Entry, others: &[Entry]) -> Option<String> {
    others
        .iter()
        .filter(|other| other.app == me.app && !other.leaving)
        .filter(|other| (other.number, other.order.0) > (me.number, me.order.0))
        .max_by(|a, b| a.place().cmp(&b.place()))
        .map(|other| other.order.2.clone())
}

/// How many Builds may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// In all namespaces together.
    pub all: usize,
    /// In one namespace. If `None`: one less than `all`, so that a place is left for other namespaces; if there are no
    /// others, `all`.
    pub of_one: Option<usize>,
}

impl Places {
    /// The limit of one namespace, given these Builds.
    fn of_one(self, me: &Entry, others: &[Entry]) -> usize {
        let alone = || others.iter().all(|e| e.namespace() == me.namespace());
        let default = || {
            if alone() {
                self.all
            } else {
                self.all.saturating_sub(1).max(1)
            }
        };
        self.of_one.unwrap_or_else(default)
    }
}

/// Which Builds have a place, and which had one, as far as this process has seen it. This is known before any status
/// says so, and also for Builds that were deleted.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Builds that were let begin and whose end has not been seen: namespace by UID.
    at_work: BTreeMap<String, String>,
    /// When a Build of a namespace last freed its place.
    left: BTreeMap<String, Timestamp>,
}

impl Turns {
    /// How long it is remembered that a namespace had a place: longer than any Build waits.
    const MEMORY: SignedDuration = SignedDuration::from_hours(24);

    /// The Build takes a place.
    pub fn begin(&mut self, uid: &str, namespace: &str) {
        self.at_work.insert(uid.to_owned(), namespace.to_owned());
    }

    /// The Build frees its place. Returns whether it had one.
    pub fn end(&mut self, uid: &str, now: Timestamp) -> bool {
        let Some(namespace) = self.at_work.remove(uid) else {
            return false;
        };
        self.left
            .retain(|_, left| now.duration_since(*left) < Self::MEMORY);
        self.left.insert(namespace, now);
        true
    }

    /// Whether a Build has a place, or has had one.
    fn has_begun(&self, entry: &Entry) -> bool {
        entry.phase != BuildPhase::Pending || self.at_work.contains_key(&entry.uid)
    }

    /// How many Builds have a place.
    pub fn at_work(&self) -> usize {
        self.at_work.len()
    }
}

/// Whether a Build may begin.
pub fn turn(me: &Entry, others: &[Entry], turns: &Turns, places: Places) -> Turn {
    let of_one = places.of_one(me, others);
    let unfinished: Vec<&Entry> = others
        .iter()
        .filter(|other| other.uid != me.uid && !other.phase.is_over())
        .filter(|other| !other.leaving || turns.at_work.contains_key(&other.uid))
        .collect();
    let first = first_of_each_app(me, &unfinished);
    if let Some(before) = first.get(&me.app).filter(|first| first.uid != me.uid) {
        return Turn::Behind {
            name: before.order.2.clone(),
            uid: before.uid.clone(),
        };
    }
    let is_first = |entry: &Entry| {
        let first = first.get(&entry.app);
        first.is_none_or(|first| first.uid == entry.uid)
    };
    let (working, mut waiting): (Vec<&Entry>, Vec<&Entry>) =
        unfinished.iter().partition(|other| turns.has_begun(other));
    waiting.retain(|other| !other.blocked && is_first(other));
    waiting.push(me);
    waiting.sort_by(|a, b| a.order.cmp(&b.order));
    let ranked = ranked(waiting, &working, without_place(others, turns));
    let mine = ranked
        .iter()
        .find(|(_, entry)| entry.uid == me.uid)
        .map(|(rank, _)| *rank)
        .unwrap_or_default();
    let before_me = ranked
        .iter()
        .filter(|(rank, entry)| rank.before < of_one && (rank, &entry.order) < (&mine, &me.order));
    let ahead = working.len() + before_me.count();
    if mine.before >= of_one && of_one < places.all {
        Turn::NamespaceFull { most: of_one }
    } else if ahead < places.all {
        Turn::Now
    } else {
        Turn::Queued { ahead }
    }
}

type App = (String, String);

/// For each App, its unfinished Build that comes first.
fn first_of_each_app<'a>(me: &'a Entry, unfinished: &[&'a Entry]) -> BTreeMap<&'a App, &'a Entry> {
    let mut first: BTreeMap<_, &Entry> = BTreeMap::from([(&me.app, me)]);
    for other in unfinished {
        let entry = first.entry(&other.app).or_insert(other);
        if other.place() < entry.place() {
            *entry = other;
        }
    }
    first
}

/// Since when each namespace has been without a place, if it had one before.
fn without_place<'a>(others: &'a [Entry], turns: &'a Turns) -> BTreeMap<&'a str, Timestamp> {
    let mut without: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let seen = turns.left.iter().map(|(name, at)| (name.as_str(), *at));
    let told = others.iter().filter_map(|e| Some((e.namespace(), e.left?)));
    for (namespace, left) in seen.chain(told) {
        let since = without.entry(namespace).or_insert(left);
        *since = left.max(*since);
    }
    without
}

/// Ranks the waiting Builds, given oldest first. The rank is the number of Builds of the same namespace that run or are
/// ahead; then how long the namespace has been without a place, which counts only for the first of its Builds; then the
/// age.
fn ranked<'a>(
    waiting: Vec<&'a Entry>,
    working: &[&'a Entry],
    mut without: BTreeMap<&'a str, Timestamp>,
) -> Vec<(Rank, &'a Entry)> {
    let mut at_work: BTreeMap<&str, usize> = BTreeMap::new();
    for other in working {
        *at_work.entry(other.namespace()).or_default() += 1;
    }
    let rank = |entry: &'a Entry| {
        let namespace = entry.namespace();
        let before = at_work.entry(namespace).or_default();
        let since = without.insert(namespace, Timestamp::MAX);
        let rank = Rank {
            before: *before,
            since: since.unwrap_or(Timestamp::MIN).max(entry.order.0),
        };
        *before += 1;
        (rank, entry)
    };
    waiting.into_iter().map(rank).collect()
}

/// The rank of a waiting Build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    before: usize,
    since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::{Entry, Places, Turns, overtaken_by, turn};
    use crate::build::next::Turn;
    use jiff::Timestamp;
    use slipway_crds::v1alpha1::BuildPhase;

    fn entry(uid: &str, app: &str, second: i64, phase: BuildPhase) -> Entry {
        Entry {
            uid: uid.into(),
            number: 0,
            order: (
                Timestamp::from_second(second).unwrap(),
                "n".into(),
                uid.into(),
            ),
            app: ("n".into(), app.into()),
            phase,
            blocked: false,
            left: None,
            leaving: false,
        }
    }

    const fn up_to(most: usize) -> Places {
        Places {
            all: most,
            of_one: Some(most),
        }
    }

    /// The same Build in another namespace.
    fn of(namespace: &str, entry: Entry) -> Entry {
        let (at, _, name) = entry.order;
        Entry {
            order: (at, namespace.into(), name),
            ..entry
        }
    }

    use BuildPhase::{Building, Failed, Pending};

    #[test]
    fn namespaces_take_turns() {
        let mut all: Vec<Entry> = (0..5)
            .map(|n| entry(&format!("a{n}"), &format!("a{n}"), n, Pending))
            .collect();
        all.extend((0..2).map(|n| {
            let name = format!("b{n}");
            of("late", entry(&name, &name, 100 + n, Pending))
        }));
        let mut turns = Turns::default();
        let mut order = Vec::new();
        while order.len() < all.len() {
            let next = next(&all, &turns, up_to(order.len() + 1));
            assert_eq!(next.len(), 1, "{next:?} after {order:?}");
            turns.begin(&next[0].uid, next[0].namespace());
            order.push(next[0].uid.clone());
        }
        assert_eq!(order, ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]);
    }

    /// Builds that may begin now.
    fn next<'a>(all: &'a [Entry], turns: &Turns, places: Places) -> Vec<&'a Entry> {
        all.iter()
            .filter(|me| me.phase == Pending && !turns.at_work.contains_key(&me.uid))
            .filter(|me| turn(me, all, turns, places) == Turn::Now)
            .collect()
    }

    /// The order in which Builds begin if there is one place and each begins when the one before it has ended.
    /// Meanwhile this process forgets what it has seen (`forgetful`), or ended Builds are deleted (`deleted`).
    fn one_by_one(mut all: Vec<Entry>, forgetful: bool, deleted: bool) -> Vec<String> {
        let mut turns = Turns::default();
        let mut order = Vec::new();
        for second in 1000.. {
            let Some(first) = next(&all, &turns, up_to(1)).first().map(|e| e.uid.clone()) else {
                break;
            };
            let at = all.iter().position(|entry| entry.uid == first).unwrap();
            turns.begin(&first, all[at].namespace());
            assert_eq!(next(&all, &turns, up_to(1)), Vec::<&Entry>::new());
            let now = Timestamp::from_second(second).unwrap();
            assert!(turns.end(&first, now));
            if forgetful {
                turns = Turns::default();
            }
            all[at].phase = Failed;
            all[at].left = Some(now);
            if deleted {
                all.remove(at);
            }
            order.push(first);
        }
        order
    }

    #[test]
    fn namespaces_take_turns_at_the_only_place() {
        let mut all: Vec<Entry> = (0..3)
            .map(|n| entry(&format!("a{n}"), &format!("a{n}"), n, Pending))
            .collect();
        all.extend((0..2).map(|n| {
            let name = format!("b{n}");
            of("late", entry(&name, &name, 100 + n, Pending))
        }));
        all.push(of("later", entry("c", "c", 200, Pending)));
        for (forgetful, deleted) in [(false, false), (true, false), (false, true)] {
            let order = one_by_one(all.clone(), forgetful, deleted);
            assert_eq!(order, ["a0", "b0", "c", "a1", "b1", "a2"]);
        }
    }

    #[test]
    fn a_namespace_leaves_one_place_to_others_where_there_are_any() {
        let mut all = vec![
            entry("r", "r", 1, Building),
            entry("s", "s", 2, Building),
            entry("a", "a", 3, Pending),
        ];
        let turn = |all: &[Entry], places| {
            let places = Places {
                all: places,
                of_one: None,
            };
            turn(&all[2], all, &Turns::default(), places)
        };
        assert_eq!(turn(&all, 3), Turn::Now);
        // A namespace that has a Build, even one that ended long ago, may need a place at any time.
        all.push(of("other", entry("b", "b", 0, Failed)));
        assert_eq!(turn(&all, 3), Turn::NamespaceFull { most: 2 });
        assert_eq!(turn(&all, 4), Turn::Now);
        all[0].phase = Failed;
        assert_eq!(turn(&all, 2), Turn::NamespaceFull { most: 1 });
        // If there is only one place, none can be left free.
        all[1].phase = Failed;
        assert_eq!(turn(&all, 1), Turn::Now);
    }

    #[test]
    fn a_namespace_has_no_more_places_than_its_own() {
        let all = [
            entry("r", "r", 1, Building),
            entry("a", "a", 2, Pending),
            of("late", entry("b", "b", 3, Pending)),
        ];
        let places = Places {
            all: 2,
            of_one: Some(1),
        };
        let turn = |me: usize| turn(&all[me], &all, &Turns::default(), places);
        assert_eq!(turn(1), Turn::NamespaceFull { most: 1 });
        assert_eq!(turn(2), Turn::Now, "who may not begin holds up nobody");
    }

    #[test]
    fn builds_begin_in_the_order_in_which_they_were_made() {
        let all = [
            entry("r", "r", 9, Building),
            entry("a", "a", 1, Pending),
            entry("b", "b", 2, Pending),
        ];
        let turn = |me: usize, most| turn(&all[me], &all, &Turns::default(), up_to(most));
        assert_eq!(turn(1, 2), Turn::Now);
        assert_eq!(turn(2, 2), Turn::Queued { ahead: 2 });
        assert_eq!(turn(2, 3), Turn::Now);
        assert_eq!(turn(1, 1), Turn::Queued { ahead: 1 });
    }

    #[test]
    fn who_was_let_begin_counts_before_its_status_says_so() {
        let all = [entry("a", "a", 5, Pending), entry("b", "b", 1, Pending)];
        let mut begun = Turns::default();
        begun.begin("a", "n");
        assert_eq!(
            turn(&all[1], &all, &begun, up_to(1)),
            Turn::Queued { ahead: 1 }
        );
    }

    #[test]
    fn who_lacks_something_holds_up_nobody() {
        let mut all = [entry("a", "a", 1, Pending), entry("b", "b", 2, Pending)];
        all[0].blocked = true;
        assert_eq!(turn(&all[1], &all, &Turns::default(), up_to(1)), Turn::Now);
    }

    #[test]
    fn who_is_deleted_and_kept_holds_up_nobody() {
        let mut all = [
            entry("r", "x", 1, Building),
            entry("w", "x", 2, Pending),
            entry("b", "x", 3, Pending),
        ];
        all[0].leaving = true;
        all[1].leaving = true;
        let turn = |begun: &[&str]| {
            let mut turns = Turns::default();
            for uid in begun {
                turns.begin(uid, "n");
            }
            turn(&all[2], &all, &turns, up_to(1))
        };
        assert_eq!(turn(&[]), Turn::Now);
        // A Build that is being deleted counts until its containers are gone.
        assert!(matches!(turn(&["r"]), Turn::Behind { .. }));
        assert_eq!(overtaken_by(&entry("a", "x", 0, Pending), &all[..2]), None);
    }

    #[test]
    fn one_build_of_an_app_at_a_time() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        let wait = Turn::Behind {
            name: "a".into(),
            uid: "a".into(),
        };
        assert_eq!(turn(&all[1], &all, &Turns::default(), up_to(9)), wait);
        assert_eq!(overtaken_by(&all[0], &all), Some("b".into()));
        assert_eq!(overtaken_by(&all[1], &all), None);
        all[0].phase = Failed;
        assert_eq!(turn(&all[1], &all, &Turns::default(), up_to(9)), Turn::Now);
    }

    #[test]
    fn builds_of_one_second_go_in_order() {
        let all = [entry("a", "x", 1, Pending), entry("b", "x", 1, Pending)];
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[0], &all, &Turns::default(), up_to(9)), Turn::Now);
        assert!(matches!(
            turn(&all[1], &all, &Turns::default(), up_to(9)),
            Turn::Behind { .. }
        ));
    }

    #[test]
    fn of_one_second_the_build_of_the_later_revision_is_the_newer() {
        // The name is a hash: it does not tell which Build came first.
        let numbered = |uid: &str, number, second| Entry {
            number,
            ..entry(uid, "x", second, Pending)
        };
        let all = [numbered("b", 1, 5), numbered("a", 2, 5)];
        assert_eq!(overtaken_by(&all[0], &all), Some("a".into()));
        assert_eq!(overtaken_by(&all[1], &all), None);
        let turn = |me: usize, all: &[Entry]| turn(&all[me], all, &Turns::default(), up_to(9));
        assert_eq!(turn(0, &all), Turn::Now);
        assert!(matches!(turn(1, &all), Turn::Behind { .. }));
        // The number decides and not the clock, which may have been set back. A Build without a number comes first.
        let all = [
            numbered("b", 2, 5),
            numbered("a", 1, 9),
            entry("old", "x", 99, Pending),
        ];
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(overtaken_by(&all[1], &all), Some("b".into()));
        assert_eq!(overtaken_by(&all[2], &all), Some("b".into()));
        assert_eq!(turn(2, &all), Turn::Now);
    }

    #[test]
    fn an_app_of_another_namespace_is_another_app_whatever_uid_it_claims() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        all[1].app.0 = "other".into();
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[1], &all, &Turns::default(), up_to(9)), Turn::Now);
    }
}
