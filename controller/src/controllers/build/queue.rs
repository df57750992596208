//! All Builds → whose turn it is, and which ones a newer one overtakes. Pure.
//!
//! Namespaces take turns: of two that wait, the one whose namespace has fewer at work begins first, and of those the
//! older. Who makes many Builds holds up himself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use slipway_crds::{
    conditions::{Reason, types},
    v1alpha1::{Build, BuildPhase},
};

use crate::controllers::{build::plan::Turn, records};

/// What one Build has to know of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// UID.
    pub uid: String,
    /// When it was made, then namespace and name: the order in which Builds begin.
    pub order: (Timestamp, String, String),
    /// Its App: namespace and UID.
    pub app: (String, String),
    /// Where it is.
    pub phase: BuildPhase,
    /// Whether it cannot begin for want of something that it refers to: then it holds up nobody.
    pub blocked: bool,
}

impl Entry {
    /// Of a Build that came from an API server; none of one that its App does not control.
    pub fn of(build: &Build) -> Option<Self> {
        records::owned(build).ok()?;
        let meta = &build.metadata;
        let status = build.status.as_ref();
        let blocked = status
            .and_then(|status| status.conditions.iter().find(|c| c.type_ == types::READY))
            .is_some_and(|ready| ready.reason == Reason::ReferenceMissing.as_str());
        Some(Self {
            uid: meta.uid.clone()?,
            order: (
                meta.creation_timestamp.as_ref()?.0,
                meta.namespace.clone()?,
                meta.name.clone()?,
            ),
            app: (meta.namespace.clone()?, build.spec.app.uid.clone()),
            phase: status.map(|status| status.phase).unwrap_or_default(),
            blocked,
        })
    }
}

impl Entry {
    fn namespace(&self) -> &str {
        &self.order.1
    }
}

/// The name of a newer Build of the same App. Two of the same second overtake each other not: they go in order.
pub fn overtaken_by(me: &Entry, others: &[Entry]) -> Option<String> {
    others
        .iter()
        .filter(|other| other.app == me.app && other.order.0 > me.order.0)
        .max_by(|a, b| a.order.cmp(&b.order))
        .map(|other| other.order.2.clone())
}

/// How many may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Of all namespaces together.
    pub all: usize,
    /// Of one namespace.
    pub of_one: usize,
}

/// Whether a Build may begin. `begun` are those that were let begin, whatever their status says yet.
pub fn turn(me: &Entry, others: &[Entry], begun: &BTreeSet<String>, places: Places) -> Turn {
    let unfinished: Vec<&Entry> = others
        .iter()
        .filter(|other| other.uid != me.uid && !other.phase.is_over())
        .collect();
    let mut first: BTreeMap<_, &Entry> = BTreeMap::from([(&me.app, me)]);
    for other in &unfinished {
        let entry = first.entry(&other.app).or_insert(other);
        if other.order < entry.order {
            *entry = other;
        }
    }
    let is_first = |entry: &Entry| {
        let first = first.get(&entry.app);
        first.is_none_or(|first| first.uid == entry.uid)
    };
    if let Some(before) = first.get(&me.app).filter(|first| first.uid != me.uid) {
        return Turn::Behind {
            name: before.order.2.clone(),
            uid: before.uid.clone(),
        };
    }
    let runs = |other: &Entry| other.phase != BuildPhase::Pending || begun.contains(&other.uid);
    let mut at_work: BTreeMap<&str, usize> = BTreeMap::new();
    let mut running = 0;
    for other in unfinished.iter().filter(|other| runs(other)) {
        *at_work.entry(other.namespace()).or_default() += 1;
        running += 1;
    }
    let mut waiting: Vec<&Entry> = unfinished
        .into_iter()
        .filter(|other| !runs(other) && !other.blocked && is_first(other))
        .collect();
    waiting.push(me);
    waiting.sort_by(|a, b| a.order.cmp(&b.order));
    // How many of its own namespace are at work, or come before it, when it begins; then its age.
    let mut ranked: Vec<(usize, &Entry)> = Vec::new();
    for entry in waiting {
        let before = at_work.entry(entry.namespace()).or_default();
        ranked.push((*before, entry));
        *before += 1;
    }
    let mine = ranked
        .iter()
        .find(|(_, entry)| entry.uid == me.uid)
        .map_or(0, |(rank, _)| *rank);
    let before_me = ranked
        .iter()
        .filter(|(rank, entry)| *rank < places.of_one && (rank, &entry.order) < (&mine, &me.order));
    let ahead = running + before_me.count();
    if mine >= places.of_one && places.of_one < places.all {
        Turn::NamespaceFull {
            most: places.of_one,
        }
    } else if ahead < places.all {
        Turn::Now
    } else {
        Turn::Queued { ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Places, overtaken_by, turn};
    use crate::controllers::build::plan::Turn;
    use jiff::Timestamp;
    use slipway_crds::v1alpha1::BuildPhase;
    use std::collections::BTreeSet;

    fn entry(uid: &str, app: &str, second: i64, phase: BuildPhase) -> Entry {
        Entry {
            uid: uid.into(),
            order: (
                Timestamp::from_second(second).unwrap(),
                "n".into(),
                uid.into(),
            ),
            app: ("n".into(), app.into()),
            phase,
            blocked: false,
        }
    }

    const fn up_to(most: usize) -> Places {
        Places {
            all: most,
            of_one: most,
        }
    }

    /// The same in another namespace.
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
        let mut begun = BTreeSet::new();
        let mut order = Vec::new();
        while order.len() < all.len() {
            let may: Vec<_> = all
                .iter()
                .filter(|me| !begun.contains(&me.uid))
                .filter(|me| turn(me, &all, &begun, up_to(order.len() + 1)) == Turn::Now)
                .map(|me| me.uid.clone())
                .collect();
            assert_eq!(may.len(), 1, "{may:?} after {order:?}");
            begun.extend(may.clone());
            order.extend(may);
        }
        assert_eq!(order, ["a0", "b0", "a1", "b1", "a2", "a3", "a4"]);
    }

    #[test]
    fn a_namespace_has_no_more_places_than_its_own() {
        let all = [
            entry("r", "r", 1, Building),
            entry("a", "a", 2, Pending),
            of("late", entry("b", "b", 3, Pending)),
        ];
        let places = Places { all: 2, of_one: 1 };
        let turn = |me: usize| turn(&all[me], &all, &BTreeSet::new(), places);
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
        let turn = |me: usize, most| turn(&all[me], &all, &BTreeSet::new(), up_to(most));
        assert_eq!(turn(1, 2), Turn::Now);
        assert_eq!(turn(2, 2), Turn::Queued { ahead: 2 });
        assert_eq!(turn(2, 3), Turn::Now);
        assert_eq!(turn(1, 1), Turn::Queued { ahead: 1 });
    }

    #[test]
    fn who_was_let_begin_counts_before_its_status_says_so() {
        let all = [entry("a", "a", 5, Pending), entry("b", "b", 1, Pending)];
        let begun = BTreeSet::from(["a".to_owned()]);
        assert_eq!(
            turn(&all[1], &all, &begun, up_to(1)),
            Turn::Queued { ahead: 1 }
        );
    }

    #[test]
    fn who_lacks_something_holds_up_nobody() {
        let mut all = [entry("a", "a", 1, Pending), entry("b", "b", 2, Pending)];
        all[0].blocked = true;
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), up_to(1)), Turn::Now);
    }

    #[test]
    fn one_build_of_an_app_at_a_time() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        let wait = Turn::Behind {
            name: "a".into(),
            uid: "a".into(),
        };
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), up_to(9)), wait);
        assert_eq!(overtaken_by(&all[0], &all), Some("b".into()));
        assert_eq!(overtaken_by(&all[1], &all), None);
        all[0].phase = Failed;
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), up_to(9)), Turn::Now);
    }

    #[test]
    fn builds_of_one_second_go_in_order() {
        let all = [entry("a", "x", 1, Pending), entry("b", "x", 1, Pending)];
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[0], &all, &BTreeSet::new(), up_to(9)), Turn::Now);
        assert!(matches!(
            turn(&all[1], &all, &BTreeSet::new(), up_to(9)),
            Turn::Behind { .. }
        ));
    }

    #[test]
    fn an_app_of_another_namespace_is_another_app_whatever_uid_it_claims() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        all[1].app.0 = "other".into();
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), up_to(9)), Turn::Now);
    }
}
