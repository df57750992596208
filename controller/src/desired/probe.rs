//! Checks as the kubelet's probes: so they run wherever the pod runs, operator or not.
//!
//! | checks of one type | probe |
//! |---|---|
//! | one `listening` | a connection to the pod's own address: what listens on 127.0.0.1 only does not pass |
//! | one `command` | exec |
//! | one request without `content` | httpGet |
//! | a request with `content`, or several checks | exec of the prober, which an init container brings in |
//! | `uptime` | none: `minReadySeconds` of the Deployment |
//!
//! httpGet differs from Dokku's check where an answer redirects: the kubelet follows on the same host only, and a
//! redirect to another host passes. That is worth less than a pod that needs nothing of ours to become ready.

use k8s_openapi::{
    api::core::v1::{ExecAction, HTTPGetAction, HTTPHeader, Probe, TCPSocketAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{Check, CheckType, Scheme};

use crate::{
    desired::escape::escaped,
    domain::checks::{Kind, kind},
    zone::layout,
};

/// Name of the init container that brings our programs into a pod, and of the volume that they lie on.
pub const PROGRAMS: &str = "slipway-programs";
/// Where they lie in a pod.
pub(crate) const PROGRAMS_FOLDER: &str = "/slipway-programs";

/// The probes of one container.
pub(crate) struct Probes {
    pub(crate) startup: Option<Probe>,
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) need_prober: bool,
}

pub(crate) fn probes(checks: &[Check]) -> Probes {
    let of = |r#type| {
        let wanted: Vec<&Check> = checks
            .iter()
            .filter(|c| c.r#type == r#type && kind(c) != Kind::Uptime)
            .collect();
        probe(&wanted)
    };
    let (startup, by_prober) = of(CheckType::Startup).unzip();
    let (readiness, ready_by_prober) = of(CheckType::Readiness).unzip();
    let (liveness, live_by_prober) = of(CheckType::Liveness).unzip();
    Probes {
        startup,
        readiness,
        liveness,
        need_prober: [by_prober, ready_by_prober, live_by_prober].contains(&Some(true)),
    }
}

/// The probe for checks of one type, and whether the prober runs it.
fn probe(checks: &[&Check]) -> Option<(Probe, bool)> {
    let most = |of: fn(&Check) -> Option<i32>| checks.iter().filter_map(|c| of(c)).max();
    let timeout = most(|c| c.timeout);
    let base = Probe {
        // The API server leaves nought out.
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

/// All of `checks` at once, in one program. It is given a second more than the checks have, so that its own message
/// arrives and not the kubelet's "timed out".
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

/// A check as the prober reads it.
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
    use crate::prober;
    use serde_json::{Value, json};

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
