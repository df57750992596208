//! Checks as probes of the kubelet, which runs them whether the operator is up or not.
//!
//! | checks of one type | probe |
//! |---|---|
//! | one `listening` | tcpSocket, to the pod's IP: a process that listens on 127.0.0.1 only does not pass |
//! | one `command` | exec |
//! | one request without `content` | httpGet |
//! | a request with `content`, or several checks | exec of the prober, which an init container brings in |
//! | `uptime` | none: `minReadySeconds` of the Deployment |
//!
//! From the second [`Renderer`](crate::desired::Renderer) on, a startup probe tries a command or a connection as long
//! as Dokku does, which doubles the wait before each further try. If there is no startup check, the liveness checks are
//! the startup probe, too: otherwise the kubelet would kill a process that is still starting.
//!
//! httpGet differs from Dokku's check in redirects: the kubelet follows them on the same host only, and a redirect to
//! another host passes. This is accepted, because such a pod needs no program of the operator to become ready.

use k8s_openapi::{
    api::core::v1::{ExecAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{Check, CheckType, Scheme};

use crate::{
    desired::escape::escaped,
    domain::checks::{Kind, kind},
};
use slipway_base::zone::layout;

/// Name of the init container that brings launcher and prober into a pod, and of the volume that holds them.
pub const PROGRAMS: &str = "slipway-programs";
/// Where that volume is mounted.
pub(crate) const PROGRAMS_FOLDER: &str = "/slipway-programs";

/// The probes of one container.
pub(crate) struct Probes {
    pub(crate) startup: Option<Probe>,
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) need_prober: bool,
}

/// The probes for `checks`. `start` is how many seconds a start may take; `None` for the first renderer's rules.
pub(crate) fn probes(checks: &[Check], start: Option<i32>) -> Probes {
    let of = |r#type| -> Vec<&Check> {
        checks
            .iter()
            .filter(|c| c.r#type == r#type && kind(c) != Kind::Uptime)
            .collect()
    };
    let first = of(CheckType::Startup);
    let live = probe(&of(CheckType::Liveness));
    let startup = match (probe(&first), start) {
        (Some((startup, by)), Some(start)) => Some((patient(startup, &first, start), by)),
        (None, Some(start)) => live
            .clone()
            .map(|(liveness, by)| (until_alive(liveness, start), by)),
        (startup, None) => startup,
    };
    let (startup, by_prober) = startup.unzip();
    let (readiness, ready_by_prober) = probe(&of(CheckType::Readiness)).unzip();
    let (liveness, live_by_prober) = live.unzip();
    Probes {
        startup,
        readiness,
        liveness,
        need_prober: [by_prober, ready_by_prober, live_by_prober].contains(&Some(true)),
    }
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

/// The probe for checks of one type, and whether the prober runs it.
fn probe(checks: &[&Check]) -> Option<(Probe, bool)> {
    let most = |of: fn(&Check) -> Option<i32>| checks.iter().filter_map(|c| of(c)).max();
    let timeout = most(|c| c.timeout);
    let base = Probe {
        // The API server omits 0.
        initial_delay_seconds: most(|c| c.initial_delay).filter(|s| *s > 0),
        period_seconds: most(|c| c.wait),
        timeout_seconds: timeout,
        failure_threshold: most(|c| c.attempts),
        ..Probe::default()
    };
    let [check] = checks else {
        return (!checks.is_empty()).then(|| (by_prober(base, timeout, checks), true));
    };
    let port = check.port.map(IntOrString::Int).unwrap_or_default();
    Some(match kind(check) {
        Kind::Listening => (
            Probe {
                tcp_socket: Some(TCPSocketAction { port, host: None }),
                ..base
            },
            false,
        ),
        Kind::Command => (
            Probe {
                exec: Some(ExecAction {
                    command: Some(check.command.iter().map(|word| escaped(word)).collect()),
                }),
                ..base
            },
            false,
        ),
        Kind::Path if check.content.is_none() => (
            Probe {
                http_get: Some(http_get(check, port)),
                ..base
            },
            false,
        ),
        Kind::Path | Kind::Uptime => (by_prober(base, timeout, checks), true),
    })
}

fn http_get(check: &Check, port: IntOrString) -> HTTPGetAction {
    let headers: Vec<HTTPHeader> = check
        .http_headers
        .iter()
        .map(|header| HTTPHeader {
            name: header.name.clone(),
            value: header.value.clone(),
        })
        .collect();
    HTTPGetAction {
        path: check.path.clone(),
        port,
        scheme: Some(
            match check.scheme.unwrap_or_default() {
                Scheme::Http => "HTTP",
                Scheme::Https => "HTTPS",
            }
            .to_owned(),
        ),
        http_headers: (!headers.is_empty()).then_some(headers),
        host: None,
    }
}

/// A probe in which one program, the prober, runs all of `checks`. It may take a second longer than the checks, so that
/// its own message is reported and not the kubelet's "timed out".
fn by_prober(base: Probe, timeout: Option<i32>, checks: &[&Check]) -> Probe {
    let list: Vec<Value> = checks.iter().map(|check| as_json(check)).collect();
    Probe {
        exec: Some(ExecAction {
            command: Some(vec![
                format!("{PROGRAMS_FOLDER}/{}", layout::PROBER),
                "all".to_owned(),
                escaped(&Value::Array(list).to_string()),
            ]),
        }),
        timeout_seconds: timeout.map(|t| t.saturating_add(1)),
        ..base
    }
}

/// A check in the form that the prober reads.
fn as_json(check: &Check) -> Value {
    let timeout = check.timeout.unwrap_or(5);
    let mut value = match kind(check) {
        Kind::Listening => json!({"kind": "listening", "port": check.port}),
        Kind::Command => json!({
            "kind": "command",
            "command": check.command,
            "timeoutSeconds": timeout,
        }),
        Kind::Path | Kind::Uptime => {
            let mut http = json!({
                "kind": "http",
                "port": check.port,
                "path": check.path,
                "scheme": check.scheme.unwrap_or_default(),
                "timeoutSeconds": timeout,
            });
            if let Some(http) = http.as_object_mut() {
                if let Some(content) = &check.content {
                    http.insert("content".to_owned(), json!(content));
                }
                if !check.http_headers.is_empty() {
                    http.insert("headers".to_owned(), json!(check.http_headers));
                }
            }
            http
        }
    };
    if let (Some(name), Some(value)) = (&check.name, value.as_object_mut()) {
        value.insert("name".to_owned(), json!(name));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{Check, as_json, probes};
    use serde_json::{Value, json};
    use slipway_agents::prober;

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
            let found = |start| probes(&checks, start).startup.unwrap();
            let expected = (Some(tries), Some(wait));
            let probe = found(Some(deploy));
            assert_eq!(
                (probe.failure_threshold, probe.period_seconds),
                expected,
                "{check}"
            );
            assert_eq!(found(None).failure_threshold, Some(attempts), "{check}");
        }
    }

    #[test]
    fn what_is_alive_only_once_it_has_started_is_waited_for() {
        let checks = |text: Value| -> Vec<Check> { serde_json::from_value(text).unwrap() };
        let alive = json!({"type": "liveness", "path": "/", "port": 5000, "attempts": 3, "wait": 5, "timeout": 5, "initialDelay": 9});
        let started = json!({"type": "startup", "listening": true, "port": 5000, "attempts": 3, "wait": 5, "timeout": 5});
        let uptime = json!({"type": "startup", "uptime": 10});
        let alone = checks(json!([alive, uptime]));
        let startup = probes(&alone, Some(300)).startup.unwrap();
        let liveness = probes(&alone, Some(300)).liveness.unwrap();
        assert_eq!(startup.http_get, liveness.http_get);
        let numbers = (
            startup.initial_delay_seconds,
            startup.period_seconds,
            startup.failure_threshold,
        );
        assert_eq!(numbers, (None, Some(1), Some(300)));
        assert!(probes(&alone, None).startup.is_none());
        // A startup check of the App's own is used as it is.
        let both = checks(json!([alive, started]));
        assert!(
            probes(&both, Some(300))
                .startup
                .unwrap()
                .tcp_socket
                .is_some()
        );
        // Starting a program is not cheap.
        let mut program = alive.clone();
        program["command"] = json!(["./alive"]);
        program["wait"] = json!(60);
        let startup = probes(&checks(json!([program])), Some(300))
            .startup
            .unwrap();
        assert_eq!(
            (startup.period_seconds, startup.failure_threshold),
            (Some(5), Some(60))
        );
    }

    #[test]
    fn the_prober_reads_what_is_written_for_it() {
        let checks: Vec<Check> = serde_json::from_value(json!([
            {"type": "startup", "name": "up", "path": "/up", "content": "ok", "scheme": "https", "port": 5000,
             "timeout": 7, "httpHeaders": [{"name": "Host", "value": "hello.example"}]},
            {"type": "startup", "listening": true, "port": 7000},
            {"type": "startup", "command": ["true"], "timeout": 2},
        ]))
        .unwrap();
        let text = Value::Array(checks.iter().map(as_json).collect()).to_string();
        assert_eq!(
            prober::checks(&text).unwrap(),
            [
                prober::Check::Http {
                    name: Some("up".into()),
                    port: 5000,
                    path: "/up".into(),
                    scheme: prober::Scheme::Https,
                    headers: vec![prober::Header {
                        name: "Host".into(),
                        value: "hello.example".into()
                    }],
                    content: Some("ok".into()),
                    timeout_seconds: 7,
                },
                prober::Check::Listening {
                    name: None,
                    port: 7000
                },
                prober::Check::Command {
                    name: None,
                    command: vec!["true".into()],
                    timeout_seconds: 2
                },
            ]
        );
    }
}
