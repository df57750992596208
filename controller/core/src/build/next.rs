//! What is known of a Build → the one next [`Step`]. Pure.
//!
//! ```text
//! Pending ─turn▶ Fetching ─▶ Building ─▶ Exporting ─▶ Succeeded
//!    └────────────────┴───────────┴───────────┴─────▶ Failed, Cancelled ─▶ log stored, containers gone
//! ```
//!
//! The engine's containers say how far a Build is; its status records which containers were seen before. A container
//! that was seen and no longer exists was removed, and is not started a second time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use slipway_crds::v1alpha1::{Build, BuildPhase, BuildStatus};

use crate::build::zones::{EndedBy, ZoneState, Zones};
use slipway_base::zone::Zone;

/// How long containers are kept after the end of the Build for a log that cannot be stored.
const LOG_PATIENCE: SignedDuration = SignedDuration::from_hours(1);
/// How often a running Build is looked at, in case an event of the engine is missed.
const LOOK: Duration = Duration::from_mins(1);
/// How much longer than its limit the build zone may run: its own program enforces the limit, stops what runs, and
/// reports what that was.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What is known of a Build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The current time.
    pub now: Timestamp,
    /// The zones' containers; not looked up if the status says that there can be none.
    pub zones: Zones,
    /// Why the Build has to be cancelled, if it has.
    pub cancel: Option<Cancel>,
    /// Whether the Build may begin.
    pub turn: Turn,
}

/// Why a Build has to be cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Its annotation says so.
    Requested,
    /// A newer Build of the App exists.
    Superseded {
        /// Its name.
        by: String,
    },
}

/// Whether a Build may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Now,
    /// The limit of Builds is reached by those that run or are ahead in the queue.
    Queued {
        /// How many run or are ahead.
        ahead: usize,
    },
    /// The limit of its namespace is reached by those that run or are ahead in the queue.
    NamespaceFull {
        /// The limit.
        most: usize,
    },
    /// Another Build of the App comes first and has not ended.
    Behind {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// The object is being deleted: remove all that it has on the engine.
    Remove,
    /// Nothing, until its turn comes.
    Wait(Turn),
    /// Start a zone's container.
    Start(Zone),
    /// Wait: a zone runs.
    Watch(Zone),
    /// Write the end of the Build into its status.
    End(Ending),
    /// The Build is over: store its log in the registry, then remove its containers.
    Archive {
        /// Whether the log is given up because it could not be stored for too long.
        give_up: bool,
    },
}

/// How a Build ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Export wrote an image.
    Exported,
    /// A zone's program failed.
    Failed {
        /// The zone.
        zone: Zone,
        /// Its exit code.
        code: i64,
        /// Who ended it.
        by: EndedBy,
    },
    /// A container, or that of the zone before, was removed from the engine.
    Lost {
        /// The zone.
        zone: Zone,
    },
    /// The time limit passed.
    TimedOut {
        /// The zone that was at work.
        zone: Zone,
    },
    /// It was cancelled.
    Cancelled(Cancel),
    /// It cannot start, and a retry would not help.
    Impossible {
        /// The zone that was to be started.
        zone: Zone,
        /// Why.
        message: String,
    },
}

impl Ending {
    /// Whether a zone was killed from outside.
    const fn is_killed(&self) -> bool {
        matches!(
            self,
            Self::Failed {
                by: EndedBy::Outside,
                ..
            }
        )
    }
}

/// The next step of a Build.
pub fn next(build: &Build, observed: &Observed) -> Step {
    let fresh = BuildStatus::default();
    let status = build.status.as_ref().unwrap_or(&fresh);
    if build.metadata.deletion_timestamp.is_some() {
        return Step::Remove;
    }
    if status.phase.is_over() {
        return after_the_end(status, observed);
    }
    let step = advance(status, observed);
    match (&step, &observed.cancel) {
        // An end stays an end, even if the Build was to be cancelled at that moment. The exception is a killed zone: an
        // operator may have killed it for the cancellation, and stopped before it wrote so.
        (Step::End(ending), _) if !ending.is_killed() => step,
        (_, Some(cancel)) => Step::End(Ending::Cancelled(cancel.clone())),
        (Step::Start(zone), None) if left(build, observed.now, Duration::ZERO).is_zero() => {
            Step::End(Ending::TimedOut { zone: *zone })
        }
        (Step::Watch(zone) | Step::End(Ending::Failed { zone, .. }), None)
            if left(build, observed.now, more(*zone)).is_zero() =>
        {
            Step::End(Ending::TimedOut { zone: *zone })
        }
        _ => step,
    }
}

/// When to look again at a Build that runs.
pub fn look_after(build: &Build, zone: Zone, now: Timestamp) -> Duration {
    // At exactly the limit, the Build has not timed out yet.
    left(build, now, more(zone))
        .saturating_add(Duration::from_millis(100))
        .min(LOOK)
}

/// When the Build began, if it did.
pub fn began(build: &Build) -> Option<Timestamp> {
    Some(build.status.as_ref()?.started_at.as_ref()?.0)
}

/// What a running zone may have beyond the time limit.
const fn more(zone: Zone) -> Duration {
    match zone {
        Zone::Build => LAST_WORDS,
        Zone::Fetch | Zone::Export => Duration::ZERO,
    }
}

/// How much is left of the time limit plus `more`.
fn left(build: &Build, now: Timestamp, more: Duration) -> Duration {
    let limit = build.spec.timeout.get().saturating_add(more);
    let Some(began) = began(build) else {
        return limit;
    };
    let spent = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    limit.saturating_sub(spent)
}

fn after_the_end(status: &BuildStatus, observed: &Observed) -> Step {
    if status.log.is_some() || observed.zones == Zones::NONE {
        return Step::Rest;
    }
    let give_up = status
        .finished_at
        .as_ref()
        .is_some_and(|finished| observed.now.duration_since(finished.0) > LOG_PATIENCE);
    Step::Archive { give_up }
}

/// The last zone that has a container decides the next step.
fn advance(status: &BuildStatus, observed: &Observed) -> Step {
    let zones = &observed.zones;
    for zone in [Zone::Export, Zone::Build, Zone::Fetch] {
        match zones.of(zone) {
            ZoneState::Absent => {}
            ZoneState::Preparing(_) => return started_after(zone, zones),
            ZoneState::Running => return Step::Watch(zone),
            ZoneState::Exited { code: 0, .. } => return after(zone, status, zones),
            ZoneState::Exited { code, by, .. } => {
                let (code, by) = (*code, *by);
                return Step::End(Ending::Failed { zone, code, by });
            }
        }
    }
    match (status.phase, &observed.turn) {
        // The Build has begun, but the operator may have died before it asked the engine. Fetch starts again: none of
        // its results is worth keeping.
        (BuildPhase::Fetching, _) | (BuildPhase::Pending, Turn::Now) => Step::Start(Zone::Fetch),
        (BuildPhase::Pending, turn) => Step::Wait(turn.clone()),
        (phase, _) => Step::End(Ending::Lost {
            zone: zone_of(phase),
        }),
    }
}

/// The step after a zone that ended well.
fn after(zone: Zone, status: &BuildStatus, zones: &Zones) -> Step {
    let following = match zone {
        Zone::Fetch => Zone::Build,
        Zone::Build => Zone::Export,
        Zone::Export => return Step::End(Ending::Exported),
    };
    // The status says that its container existed, and now it does not.
    if zone_of(status.phase) >= following && status.phase != BuildPhase::Pending {
        return Step::End(Ending::Lost { zone: following });
    }
    started_after(following, zones)
}

/// Starts a zone, if the result of the zone before it exists.
fn started_after(zone: Zone, zones: &Zones) -> Step {
    let before = match zone {
        Zone::Fetch => return Step::Start(zone),
        Zone::Build => &zones.fetch,
        Zone::Export => &zones.build,
    };
    if matches!(before, ZoneState::Exited { code: 0, .. }) {
        Step::Start(zone)
    } else {
        Step::End(Ending::Lost { zone })
    }
}

const fn zone_of(phase: BuildPhase) -> Zone {
    match phase {
        BuildPhase::Pending | BuildPhase::Fetching => Zone::Fetch,
        BuildPhase::Building => Zone::Build,
        BuildPhase::Exporting
        | BuildPhase::Succeeded
        | BuildPhase::Failed
        | BuildPhase::Cancelled => Zone::Export,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cancel, Ending, Observed, Step, Turn, look_after, next};
    use crate::build::zones::{Awaited, EndedBy, Preparing, ZoneState, Zones};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use slipway_base::zone::Zone;
    use slipway_crds::v1alpha1::{Artifact, Build, BuildPhase, BuildStatus, Duration};
    use std::time::Duration as StdDuration;

    const A: ZoneState = ZoneState::Absent;
    const C: ZoneState = ZoneState::Preparing(Preparing {
        awaits: Awaited::Start,
        trouble: None,
    });
    const R: ZoneState = ZoneState::Running;

    const fn x(code: i64) -> ZoneState {
        ZoneState::Exited {
            code,
            by: EndedBy::Itself,
            milliseconds: 7,
        }
    }

    /// Killed from outside.
    const K: ZoneState = ZoneState::Exited {
        code: 137,
        by: EndedBy::Outside,
        milliseconds: 7,
    };

    fn build(phase: BuildPhase) -> Build {
        let mut build = Build::default();
        build.spec.timeout = Duration::from_secs(100);
        build.status = Some(BuildStatus {
            phase,
            started_at: (phase != BuildPhase::Pending).then(|| Time(at(1000))),
            finished_at: phase.is_over().then(|| Time(at(1050))),
            ..BuildStatus::default()
        });
        build
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(zones: [ZoneState; 3]) -> Observed {
        let [fetch, build, export] = zones;
        Observed {
            now: at(1010),
            zones: Zones {
                fetch,
                build,
                export,
            },
            cancel: None,
            turn: Turn::Now,
        }
    }

    fn failed(zone: Zone, code: i64) -> Step {
        Step::End(Ending::Failed {
            zone,
            code,
            by: EndedBy::Itself,
        })
    }

    fn lost(zone: Zone) -> Step {
        Step::End(Ending::Lost { zone })
    }

    #[test]
    fn each_state_has_its_step() {
        use BuildPhase::{Building, Exporting, Fetching, Pending};
        for (phase, zones, step) in [
            (Pending, [A, A, A], Step::Start(Zone::Fetch)),
            (Fetching, [A, A, A], Step::Start(Zone::Fetch)),
            (Fetching, [C, A, A], Step::Start(Zone::Fetch)),
            (Pending, [R, A, A], Step::Watch(Zone::Fetch)),
            (Fetching, [R, A, A], Step::Watch(Zone::Fetch)),
            (Fetching, [x(40), A, A], failed(Zone::Fetch, 40)),
            (Fetching, [x(0), A, A], Step::Start(Zone::Build)),
            (Fetching, [x(0), C, A], Step::Start(Zone::Build)),
            (Fetching, [x(0), R, A], Step::Watch(Zone::Build)),
            (Building, [x(0), R, A], Step::Watch(Zone::Build)),
            (Building, [x(0), A, A], lost(Zone::Build)),
            (Building, [A, A, A], lost(Zone::Build)),
            (Building, [A, C, A], lost(Zone::Build)),
            (Building, [x(0), x(51), A], failed(Zone::Build, 51)),
            (Building, [x(0), x(0), A], Step::Start(Zone::Export)),
            (Fetching, [x(0), x(0), C], Step::Start(Zone::Export)),
            (Building, [x(0), x(0), R], Step::Watch(Zone::Export)),
            (Exporting, [x(0), x(0), A], lost(Zone::Export)),
            (Exporting, [A, A, C], lost(Zone::Export)),
            (Exporting, [x(0), x(0), x(60)], failed(Zone::Export, 60)),
            (Pending, [x(0), x(0), x(0)], Step::End(Ending::Exported)),
            (Exporting, [x(0), x(0), x(0)], Step::End(Ending::Exported)),
        ] {
            assert_eq!(
                next(&build(phase), &seen(zones.clone())),
                step,
                "{phase:?} {zones:?}"
            );
        }
    }

    #[test]
    fn who_has_no_turn_waits_and_who_has_begun_goes_on() {
        let mut observed = seen([A, A, A]);
        observed.turn = Turn::Queued { ahead: 2 };
        assert_eq!(
            next(&build(BuildPhase::Pending), &observed),
            Step::Wait(Turn::Queued { ahead: 2 })
        );
        assert_eq!(
            next(&build(BuildPhase::Fetching), &observed),
            Step::Start(Zone::Fetch)
        );
    }

    #[test]
    fn a_cancelled_build_ends_unless_it_has_ended() {
        for (zones, ends) in [
            ([A, A, A], true),
            ([x(0), R, A], true),
            ([x(0), x(0), R], true),
            ([x(0), x(0), x(0)], false),
            ([x(40), A, A], false),
            ([K, A, A], true),
        ] {
            let mut observed = seen(zones);
            observed.cancel = Some(Cancel::Requested);
            let step = next(&build(BuildPhase::Fetching), &observed);
            assert_eq!(
                step == Step::End(Ending::Cancelled(Cancel::Requested)),
                ends,
                "{step:?}"
            );
        }
        let mut waiting = seen([A, A, A]);
        waiting.turn = Turn::Queued { ahead: 1 };
        waiting.cancel = Some(Cancel::Superseded { by: "b".into() });
        assert!(matches!(
            next(&build(BuildPhase::Pending), &waiting),
            Step::End(Ending::Cancelled(_))
        ));
    }

    #[test]
    fn the_time_limit_counts_from_the_start_whoever_started_it() {
        let mut observed = seen([x(0), R, A]);
        // The build zone enforces the limit itself: it has half a minute more to report what was running.
        observed.now = at(1129);
        assert_eq!(
            next(&build(BuildPhase::Building), &observed),
            Step::Watch(Zone::Build)
        );
        assert_eq!(
            look_after(&build(BuildPhase::Building), Zone::Build, observed.now),
            StdDuration::from_millis(1100)
        );
        observed.now = at(1130);
        assert_eq!(
            next(&build(BuildPhase::Building), &observed),
            Step::End(Ending::TimedOut { zone: Zone::Build })
        );
        // The other zones get no extra time, and nothing starts after the limit.
        for (zones, zone) in [
            ([R, A, A], Zone::Fetch),
            ([x(0), A, A], Zone::Build),
            ([x(0), x(0), R], Zone::Export),
            ([K, A, A], Zone::Fetch),
        ] {
            let mut observed = seen(zones);
            observed.now = at(1100);
            assert_eq!(
                next(&build(BuildPhase::Fetching), &observed),
                Step::End(Ending::TimedOut { zone })
            );
        }
        observed.zones.build = x(0);
        observed.zones.export = x(0);
        assert_eq!(
            next(&build(BuildPhase::Building), &observed),
            Step::End(Ending::Exported)
        );
    }

    #[test]
    fn a_build_that_waits_has_no_time_limit() {
        let mut observed = seen([A, A, A]);
        observed.now = at(1_000_000);
        assert_eq!(
            next(&build(BuildPhase::Pending), &observed),
            Step::Start(Zone::Fetch)
        );
    }

    #[test]
    fn after_the_end_the_log_is_stored_once() {
        use BuildPhase::{Cancelled, Failed, Succeeded};
        for phase in [Succeeded, Failed, Cancelled] {
            let mut over = build(phase);
            let zones = [x(0), x(0), x(0)];
            assert_eq!(
                next(&over, &seen(zones.clone())),
                Step::Archive { give_up: false }
            );
            assert_eq!(next(&over, &seen([A, A, A])), Step::Rest);
            let mut late = seen(zones.clone());
            late.now = at(1050 + 3601);
            assert_eq!(next(&over, &late), Step::Archive { give_up: true });
            if let Some(status) = &mut over.status {
                status.log = Some(Artifact::default());
            }
            assert_eq!(next(&over, &seen(zones)), Step::Rest);
        }
    }

    #[test]
    fn what_is_being_deleted_leaves_nothing() {
        let mut build = build(BuildPhase::Building);
        build.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(next(&build, &seen([x(0), R, A])), Step::Remove);
    }
}
