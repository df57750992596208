//! The order in which an App's records were made. Pure.
//!
//! The API server records creation times in whole seconds, which do not order two objects of the same second. So
//! Revisions and Releases have a number within their App, and a Build has its Revision's.

use jiff::Timestamp;
use kube::Resource;
use slipway_crds::v1alpha1::{Build, Release, Revision};

/// A record that is ordered among those of its kind and App.
pub trait Ordered: Resource {
    /// The number that decides, from 1 on. Records without one were made by an older operator, and come first.
    fn number(&self) -> Option<i64>;
}

impl Ordered for Revision {
    fn number(&self) -> Option<i64> {
        self.spec.number
    }
}

impl Ordered for Build {
    fn number(&self) -> Option<i64> {
        self.spec.revision_number
    }
}

impl Ordered for Release {
    fn number(&self) -> Option<i64> {
        Some(self.spec.number)
    }
}

/// The place of a record in the order: the number, then the second in which it was made, then the name, so that no two
/// are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    number: Option<i64>,
    made: Option<Timestamp>,
    name: Option<&'a str>,
}

/// The place of a record among those of its kind and App; the newest has the highest place.
pub fn place<K: Ordered>(record: &K) -> Place<'_> {
    let meta = record.meta();
    Place {
        number: record.number(),
        made: meta.creation_timestamp.as_ref().map(|time| time.0),
        name: meta.name.as_deref(),
    }
}

/// The newest of some records of one kind and App.
pub fn newest<'a, K: Ordered + 'a>(records: impl IntoIterator<Item = &'a K>) -> Option<&'a K> {
    records.into_iter().max_by_key(|record| place(*record))
}

#[cfg(test)]
mod tests {
    use super::{newest, place};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use slipway_crds::v1alpha1::{Build, BuildSpec, Revision, RevisionSpec};

    fn revision(name: &str, number: Option<i64>, second: i64) -> Revision {
        let spec = RevisionSpec {
            number,
            ..RevisionSpec::default()
        };
        let mut revision = Revision::new(name, spec);
        revision.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
        revision
    }

    #[test]
    fn the_number_decides_then_the_second_then_the_name() {
        // From the oldest to the newest.
        let sorted = [
            revision("b", None, 1),
            revision("a", None, 2),
            revision("b", None, 2),
            revision("hello-r1", Some(1), 2),
            // A clock that was set back, and two Revisions of the same second.
            revision("hello-r2", Some(2), 1),
            revision("hello-r9", Some(9), 2),
            revision("hello-r10", Some(10), 2),
        ];
        for pair in sorted.windows(2) {
            assert!(place(&pair[0]) < place(&pair[1]), "{pair:?}");
        }
        assert_eq!(newest(&sorted), sorted.last());
        assert_eq!(newest(&[] as &[Revision]), None);
    }

    #[test]
    fn a_build_has_the_place_of_its_revision() {
        let build = |name: &str, revision_number| {
            let spec = BuildSpec {
                revision_number,
                ..BuildSpec::default()
            };
            Build::new(name, spec)
        };
        let builds = [build("z", None), build("b", Some(2)), build("c", Some(1))];
        assert_eq!(newest(&builds), Some(&builds[1]));
    }
}
