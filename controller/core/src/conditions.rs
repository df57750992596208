//! Findings → `status.conditions`, by kstatus' rules. Pure.
//!
//! `lastTransitionTime` changes only when the status does. `Reconciling` and `Stalled` are present only when true, and
//! never both.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use slipway_crds::conditions::{Reason, types};

use slipway_base::text;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// Not known yet.
    Unknown,
}

impl From<bool> for State {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Most bytes of a message. The API server accepts more, but nobody reads more.
const MESSAGE: usize = 2048;

/// Builds an object's conditions.
#[derive(Clone, Debug)]
pub struct Conditions {
    previous: BTreeMap<String, Condition>,
    generation: Option<i64>,
    now: Timestamp,
    current: BTreeMap<String, Condition>,
}

impl Conditions {
    /// `previous` are the object's conditions until now; `generation` is the generation that was observed.
    pub fn new(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            previous: previous
                .iter()
                .map(|condition| (condition.type_.clone(), condition.clone()))
                .collect(),
            generation,
            // The API server keeps whole seconds.
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
            current: BTreeMap::new(),
        }
    }

    /// Sets a condition. A later call for the same type replaces it.
    #[must_use]
    pub fn set(
        mut self,
        type_: &str,
        state: impl Into<State>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        let status = state.into().as_str();
        let since = self
            .previous
            .get(type_)
            .filter(|previous| previous.status == status)
            .map_or(Time(self.now), |previous| {
                previous.last_transition_time.clone()
            });
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: text::lines(&message.into(), MESSAGE),
            last_transition_time: since,
            observed_generation: self.generation,
        };
        self.current.insert(type_.to_owned(), condition);
        self
    }

    /// The conditions that were set, sorted by type.
    pub fn build(mut self) -> Vec<Condition> {
        for abnormal in [types::RECONCILING, types::STALLED] {
            if self
                .current
                .get(abnormal)
                .is_some_and(|c| c.status != "True")
            {
                self.current.remove(abnormal);
            }
        }
        if self.current.contains_key(types::STALLED) {
            self.current.remove(types::RECONCILING);
        }
        self.current.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Conditions, State};
    use jiff::Timestamp;
    use slipway_crds::conditions::{Reason, types};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_time_changes_only_when_the_status_does() {
        let first = Conditions::new(&[], Some(1), at(10))
            .set(types::READY, false, Reason::BuildRunning, "building")
            .build();
        let second = Conditions::new(&first, Some(2), at(20))
            .set(types::READY, false, Reason::BuildFailed, "failed")
            .build();
        assert_eq!(second[0].last_transition_time.0, at(10));
        assert_eq!(
            (second[0].observed_generation, second[0].reason.as_str()),
            (Some(2), "BuildFailed")
        );
        let third = Conditions::new(&second, Some(2), at(30))
            .set(types::READY, true, Reason::Serving, "serving")
            .build();
        assert_eq!(third[0].last_transition_time.0, at(30));
    }

    #[test]
    fn its_own_output_changes_nothing() {
        let make = |previous: &[_], now| {
            Conditions::new(previous, Some(1), at(now))
                .set(types::READY, State::Unknown, Reason::Waiting, "w")
                .set(types::RECONCILING, true, Reason::Progressing, "p")
                .build()
        };
        let first = make(&[], 1);
        assert_eq!(make(&first, 2), first);
    }

    #[test]
    fn abnormal_conditions_stand_only_when_true_and_never_both() {
        let types_of = |reconciling: bool, stalled: bool| -> Vec<String> {
            Conditions::new(&[], Some(1), at(0))
                .set(types::STALLED, stalled, Reason::InvalidSpec, "")
                .set(types::RECONCILING, reconciling, Reason::Progressing, "")
                .set(types::READY, false, Reason::Progressing, "")
                .build()
                .into_iter()
                .map(|c| c.type_)
                .collect()
        };
        assert_eq!(types_of(false, false), ["Ready"]);
        assert_eq!(types_of(true, false), ["Ready", "Reconciling"]);
        assert_eq!(types_of(true, true), ["Ready", "Stalled"]);
    }
}
