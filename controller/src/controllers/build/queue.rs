//! All Builds → whose turn it is, and which ones a newer one overtakes. Pure.

use std::collections::BTreeSet;

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

/// The name of a newer Build of the same App. Two of the same second overtake each other not: they go in order.
pub fn overtaken_by(me: &Entry, others: &[Entry]) -> Option<String> {
    others
        .iter()
        .filter(|other| other.app == me.app && other.order.0 > me.order.0)
        .max_by(|a, b| a.order.cmp(&b.order))
        .map(|other| other.order.2.clone())
}

/// Whether a Build may begin. `begun` are those that were let begin, whatever their status says yet.
pub fn turn(me: &Entry, others: &[Entry], begun: &BTreeSet<String>, concurrency: usize) -> Turn {
    let unfinished = || {
        others
            .iter()
            .filter(|other| other.uid != me.uid && !other.phase.is_over())
    };
    if let Some(before) = unfinished().find(|other| other.app == me.app && other.order < me.order) {
        return Turn::Behind {
            name: before.order.2.clone(),
            uid: before.uid.clone(),
        };
    }
    let ahead = unfinished()
        .filter(|other| {
            let runs = other.phase != BuildPhase::Pending || begun.contains(&other.uid);
            runs || (!other.blocked && other.order < me.order)
        })
        .count();
    if ahead < concurrency {
        Turn::Now
    } else {
        Turn::Queued { ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, overtaken_by, turn};
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

    use BuildPhase::{Building, Failed, Pending};

    #[test]
    fn builds_begin_in_the_order_in_which_they_were_made() {
        let all = [
            entry("r", "r", 9, Building),
            entry("a", "a", 1, Pending),
            entry("b", "b", 2, Pending),
        ];
        let turn = |me: usize, most| turn(&all[me], &all, &BTreeSet::new(), most);
        assert_eq!(turn(1, 2), Turn::Now);
        assert_eq!(turn(2, 2), Turn::Queued { ahead: 2 });
        assert_eq!(turn(2, 3), Turn::Now);
        assert_eq!(turn(1, 1), Turn::Queued { ahead: 1 });
    }

    #[test]
    fn who_was_let_begin_counts_before_its_status_says_so() {
        let all = [entry("a", "a", 5, Pending), entry("b", "b", 1, Pending)];
        let begun = BTreeSet::from(["a".to_owned()]);
        assert_eq!(turn(&all[1], &all, &begun, 1), Turn::Queued { ahead: 1 });
    }

    #[test]
    fn who_lacks_something_holds_up_nobody() {
        let mut all = [entry("a", "a", 1, Pending), entry("b", "b", 2, Pending)];
        all[0].blocked = true;
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), 1), Turn::Now);
    }

    #[test]
    fn one_build_of_an_app_at_a_time() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        let wait = Turn::Behind {
            name: "a".into(),
            uid: "a".into(),
        };
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), 9), wait);
        assert_eq!(overtaken_by(&all[0], &all), Some("b".into()));
        assert_eq!(overtaken_by(&all[1], &all), None);
        all[0].phase = Failed;
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), 9), Turn::Now);
    }

    #[test]
    fn builds_of_one_second_go_in_order() {
        let all = [entry("a", "x", 1, Pending), entry("b", "x", 1, Pending)];
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[0], &all, &BTreeSet::new(), 9), Turn::Now);
        assert!(matches!(
            turn(&all[1], &all, &BTreeSet::new(), 9),
            Turn::Behind { .. }
        ));
    }

    #[test]
    fn an_app_of_another_namespace_is_another_app_whatever_uid_it_claims() {
        let mut all = [entry("a", "x", 1, Building), entry("b", "x", 2, Pending)];
        all[1].app.0 = "other".into();
        assert_eq!(overtaken_by(&all[0], &all), None);
        assert_eq!(turn(&all[1], &all, &BTreeSet::new(), 9), Turn::Now);
    }
}
