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
//! httpGet differs from Dokku's check in redirects: the kubelet follows them on the same host only, and a redirect to
//! another host passes. This is accepted, because such a pod needs no program of the operator to become ready.

use k8s_openapi::{
    api::core::v1::{ExecAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{Check, CheckType, Scheme};

use crate::{
    desired::pod::{escape::escaped, programs::PROGRAMS_FOLDER},
    domain::checks::{Kind, kind},
};
use slipway_base::zone::layout;

/// The probes of one container.
pub(crate) struct Probes {
    pub(crate) startup: Option<Probe>,
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) need_prober: bool,
}

impl Probes {
    /// Each of these, with whether the prober runs it.
    pub(crate) fn new(
        startup: Option<(Probe, bool)>,
        readiness: Option<(Probe, bool)>,
        liveness: Option<(Probe, bool)>,
    ) -> Self {
        let (startup, started_by_prober) = startup.unzip();
        let (readiness, ready_by_prober) = readiness.unzip();
        let (liveness, live_by_prober) = liveness.unzip();
        Self {
            startup,
            readiness,
            liveness,
            need_prober: [started_by_prober, ready_by_prober, live_by_prober].contains(&Some(true)),
        }
    }
}

/// Those of `checks` of one type that a probe makes.
pub(crate) fn of_type(checks: &[Check], r#type: CheckType) -> Vec<&Check> {
    checks
        .iter()
        .filter(|c| c.r#type == r#type && kind(c) != Kind::Uptime)
        .collect()
}

/// The probe for checks of one type, and whether the prober runs it.
pub(crate) fn probe(checks: &[&Check]) -> Option<(Probe, bool)> {
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
    use super::{Check, as_json};
    use serde_json::{Value, json};
    use slipway_agents::prober;

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
