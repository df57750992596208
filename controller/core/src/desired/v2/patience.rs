//! Probes that are as patient as Dokku. A startup probe tries a command or a connection as long as Dokku does, which
//! doubles the wait before each further try. If there is no startup check, the liveness checks are the startup probe,
//! too: otherwise the kubelet would kill a process that is still starting.

use k8s_openapi::api::core::v1::Probe;
use slipway_crds::v1alpha1::{Check, CheckType};

use crate::{
    desired::pod::probe::{Probes, of_type, probe},
    domain::checks::{Kind, kind},
};

/// The probes for `checks`. `start` is how many seconds a start may take.
pub(crate) fn probes(checks: &[Check], start: i32) -> Probes {
    let first = of_type(checks, CheckType::Startup);
    let live = probe(&of_type(checks, CheckType::Liveness));
    let startup = match probe(&first) {
        Some((startup, by_prober)) => Some((patient(startup, &first, start), by_prober)),
        None => live
            .clone()
            .map(|(liveness, by_prober)| (until_alive(liveness, start), by_prober)),
    };
    let readiness = probe(&of_type(checks, CheckType::Readiness));
    Probes::new(startup, readiness, live)
}

/// `startup` with so many tries that they last as long as Dokku's, but not longer than a deploy (`start`), and never
/// with fewer tries than `checks` ask for.
fn patient(startup: Probe, checks: &[&Check], start: i32) -> Probe {
    let period = startup.period_seconds.unwrap_or(1).max(1);
    let patience = checks.iter().map(|check| patience(check)).max();
    let waits = patience.unwrap_or_default().min(start) / period;
    Probe {
        failure_threshold: startup.failure_threshold.max(Some(waits.saturating_add(1))),
        ..startup
    }
}

/// Seconds between Dokku's first and its last try of a check.
fn patience(check: &Check) -> i32 {
    let waits = check.attempts.unwrap_or(1).max(1) - 1;
    let waits = match kind(check) {
        Kind::Listening | Kind::Command => 2_i32.saturating_pow(waits.unsigned_abs()) - 1,
        Kind::Path | Kind::Uptime => waits,
    };
    check.wait.unwrap_or(1).saturating_mul(waits)
}

/// Longest wait in seconds between two tries of [`until_alive`], so that a started process is noticed soon.
const LONGEST_WAIT: i32 = 5;

/// `liveness` as a startup probe, for as long as a start may take: each second if the kubelet makes the request itself,
/// which is cheap; at the check's own interval, 1 to 5 s, if it starts a program.
fn until_alive(liveness: Probe, start: i32) -> Probe {
    let wait = liveness.period_seconds.unwrap_or(LONGEST_WAIT);
    let period = if liveness.exec.is_some() {
        wait.clamp(1, LONGEST_WAIT)
    } else {
        1
    };
    Probe {
        initial_delay_seconds: None,
        period_seconds: Some(period),
        failure_threshold: Some((start / period).max(1)),
        ..liveness
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, probes};
    use crate::desired::v1;
    use serde_json::{Value, json};

    /// With `wait: 5`, Dokku tries a command or a connection after 0, 5, 15, 35… s, and a request every 5 s.
    #[test]
    fn a_start_has_the_patience_that_dokku_has() {
        let listening = json!({"listening": true, "port": 7000});
        let command = json!({"command": ["true"]});
        let path = json!({"path": "/", "port": 5000});
        for (what, attempts, wait, deploy, tries) in [
            (&path, 5, 5, 300, 5),
            (&listening, 1, 5, 300, 1),
            (&listening, 3, 5, 300, 4),
            (&listening, 5, 5, 300, 16),
            (&command, 5, 5, 300, 16),
            (&command, 5, 7, 300, 16),
            // No longer than a deploy may take, but never fewer tries than the check asks for.
            (&command, 5, 5, 60, 13),
            (&command, 30, 5, 60, 30),
            (&command, 1000, 3600, 86_400, 1000),
            (&path, 100, 5, 60, 100),
        ] {
            let mut check =
                json!({"type": "startup", "attempts": attempts, "wait": wait, "timeout": 5});
            check
                .as_object_mut()
                .unwrap()
                .extend(what.as_object().unwrap().clone());
            let checks: Vec<Check> = serde_json::from_value(json!([check])).unwrap();
            let expected = (Some(tries), Some(wait));
            let probe = probes(&checks, deploy).startup.unwrap();
            assert_eq!(
                (probe.failure_threshold, probe.period_seconds),
                expected,
                "{check}"
            );
            let first = v1::probes(&checks).startup.unwrap();
            assert_eq!(first.failure_threshold, Some(attempts), "{check}");
        }
    }

    #[test]
    fn what_is_alive_only_once_it_has_started_is_waited_for() {
        let checks = |text: Value| -> Vec<Check> { serde_json::from_value(text).unwrap() };
        let alive = json!({"type": "liveness", "path": "/", "port": 5000, "attempts": 3, "wait": 5, "timeout": 5, "initialDelay": 9});
        let started = json!({"type": "startup", "listening": true, "port": 5000, "attempts": 3, "wait": 5, "timeout": 5});
        let uptime = json!({"type": "startup", "uptime": 10});
        let alone = checks(json!([alive, uptime]));
        let startup = probes(&alone, 300).startup.unwrap();
        let liveness = probes(&alone, 300).liveness.unwrap();
        assert_eq!(startup.http_get, liveness.http_get);
        let numbers = (
            startup.initial_delay_seconds,
            startup.period_seconds,
            startup.failure_threshold,
        );
        assert_eq!(numbers, (None, Some(1), Some(300)));
        assert!(v1::probes(&alone).startup.is_none());
        // A startup check of the App's own is used as it is.
        let both = checks(json!([alive, started]));
        assert!(probes(&both, 300).startup.unwrap().tcp_socket.is_some());
        // Starting a program is not cheap.
        let mut program = alive.clone();
        program["command"] = json!(["./alive"]);
        program["wait"] = json!(60);
        let startup = probes(&checks(json!([program])), 300).startup.unwrap();
        assert_eq!(
            (startup.period_seconds, startup.failure_threshold),
            (Some(5), Some(60))
        );
    }
}
