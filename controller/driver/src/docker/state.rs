//! What the engine says about a container → the [`ZoneState`]. Pure.

use bollard::models::{ContainerState, ContainerStateStatusEnum};

use slipway_core::build::zones::{Awaited, EndedBy, Preparing, ZoneState};

/// Exit codes of a container that was killed, and of one that the engine found dead when it came up.
const KILLED: [i64; 2] = [137, 255];

/// The state of a container, as an engine that was asked about it describes it.
pub(super) fn of(state: Option<ContainerState>) -> ZoneState {
    let Some(state) = state else {
        return ZoneState::Absent;
    };
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ZoneState::Preparing(Preparing {
            awaits: Awaited::Start,
            trouble: None,
        }),
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
            let code = state.exit_code.unwrap_or(-1);
            ZoneState::Exited {
                code,
                by: match state.oom_killed {
                    Some(true) => EndedBy::Memory,
                    _ if KILLED.contains(&code) => EndedBy::Outside,
                    _ => EndedBy::Itself,
                },
                milliseconds: milliseconds(
                    state.started_at.as_deref(),
                    state.finished_at.as_deref(),
                ),
            }
        }
        _ => ZoneState::Running,
    }
}

/// Milliseconds between two times that the engine reported.
fn milliseconds(started: Option<&str>, finished: Option<&str>) -> u64 {
    let at = |text: Option<&str>| text?.parse::<jiff::Timestamp>().ok();
    let (Some(started), Some(finished)) = (at(started), at(finished)) else {
        return 0;
    };
    u64::try_from(finished.duration_since(started).as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, of};
    use bollard::models::{ContainerState, ContainerStateStatusEnum};
    use slipway_core::build::zones::{Awaited, EndedBy, Preparing, ZoneState};

    #[test]
    fn an_engines_word_tells_who_ended_a_container() {
        let exited = |code, oom_killed| ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(code),
            oom_killed: Some(oom_killed),
            ..ContainerState::default()
        };
        for (code, out_of_memory, by) in [
            (0, false, EndedBy::Itself),
            (51, false, EndedBy::Itself),
            (137, false, EndedBy::Outside),
            (255, false, EndedBy::Outside),
            (137, true, EndedBy::Memory),
            // The kernel killed a process of a buildpack, and the builder said so.
            (51, true, EndedBy::Memory),
        ] {
            let milliseconds = 0;
            let state = ZoneState::Exited {
                code,
                by,
                milliseconds,
            };
            assert_eq!(of(Some(exited(code, out_of_memory))), state, "{code}");
        }
    }

    #[test]
    fn a_container_that_was_never_started_is_prepared_and_one_that_is_not_there_is_absent() {
        let created = ContainerState {
            status: Some(ContainerStateStatusEnum::CREATED),
            ..ContainerState::default()
        };
        let awaits = Awaited::Start;
        let trouble = None;
        let prepared = ZoneState::Preparing(Preparing { awaits, trouble });
        assert_eq!(of(Some(created)), prepared);
        assert_eq!(of(None), ZoneState::Absent);
    }

    #[test]
    fn the_engines_times_give_a_length() {
        assert_eq!(
            milliseconds(
                Some("2026-03-01T10:00:00.5Z"),
                Some("2026-03-01T10:00:02.123456789Z")
            ),
            1623
        );
        assert_eq!(milliseconds(Some("0001-01-01T00:00:00Z"), None), 0);
    }
}
