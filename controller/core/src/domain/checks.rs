//! The checks of a process: those of the App's spec, else those of app.json, with every default filled in.
//!
//! The rules are Dokku's, with one difference: a `web` that does not listen on its port is not ready, where Dokku only
//! warns. The result always satisfies the schema of a Release; a check that cannot be run is left out with a note.

use slipway_crds::v1alpha1::{Check, CheckType, Checks, HttpHeader, Scheme};

/// The process type that gets traffic.
pub const WEB: &str = "web";

/// Default number of failed tries in a row after which a check fails.
const ATTEMPTS: i32 = 3;
/// Default seconds between tries.
const WAIT: i32 = 5;
/// Default timeout of a try in seconds.
const TIMEOUT: i32 = 5;
/// Default seconds from the container's start to the first try.
const INITIAL_DELAY: i32 = 0;
/// Seconds that a process without a startup check has to run before it counts as started.
const UPTIME: i32 = 10;
/// Seconds between tries whether `web` listens. It is short because traffic waits for it and a connection is cheap.
const GATE_WAIT: i32 = 1;
/// Most checks of one process. A Release may have one more, which is left for [`gate`].
const MOST: usize = 31;

/// A note about a check for the App's author, in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note(pub String);

/// What a check tests. If a check names several things, the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process has to accept connections on the port.
    Listening,
    /// A program in the container has to exit with 0.
    Command,
    /// The process has to answer a request with a status from 200 to 299.
    Path,
    /// The container has to run for so long without a restart.
    Uptime,
}

/// What `check` tests.
pub fn kind(check: &Check) -> Kind {
    if check.listening == Some(true) {
        Kind::Listening
    } else if !check.command.is_empty() {
        Kind::Command
    } else if check.uptime.is_some() && !asks(check) {
        Kind::Uptime
    } else {
        Kind::Path
    }
}

fn asks(check: &Check) -> bool {
    check.path.is_some()
        || check.content.is_some()
        || !check.http_headers.is_empty()
        || check.scheme.is_some()
}

/// What a check tests, in words, for messages.
pub fn asked(check: &Check) -> String {
    let port = check.port.unwrap_or_default();
    match kind(check) {
        Kind::Listening => format!("something listening on port {port}"),
        Kind::Command => format!("`{}` ending with 0", check.command.join(" ")),
        Kind::Uptime => format!("{} s without a restart", check.uptime.unwrap_or_default()),
        Kind::Path => {
            let scheme = match check.scheme.unwrap_or_default() {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            let path = check.path.as_deref().unwrap_or("/");
            let body = check
                .content
                .as_deref()
                .map(|text| format!(" with {text:?} in the body"))
                .unwrap_or_default();
            format!("GET {scheme}://pod:{port}{path} answered with 2xx{body}")
        }
    }
}

/// The checks of `process`. `spec` is its entry in the App's `checks`; if there is one, `app_json` is ignored.
pub fn resolve(
    process: &str,
    spec: Option<&Checks>,
    app_json: &[Check],
    port: i32,
) -> (Vec<Check>, Vec<Note>) {
    let mut notes = Vec::new();
    let (wanted, from) = match spec {
        Some(Checks(checks)) => (checks.as_slice(), "spec.checks"),
        None => (app_json, "app.json"),
    };
    let mut checks = Vec::new();
    for (index, check) in wanted.iter().enumerate() {
        let name = check
            .name
            .clone()
            .unwrap_or_else(|| format!("number {}", index + 1));
        let mut note = |text: &str| {
            notes.push(Note(format!("{from}: {process}'s check {name}: {text}")));
        };
        if checks.len() == MOST {
            note("there are more than 31 checks: it is not run");
            continue;
        }
        match complete(check, port, &mut note) {
            Ok(check) => checks.push(check),
            Err(why) => note(&format!("{why}: it is not run")),
        }
    }
    // As in Dokku, staying up is the check of a process without any, and of one other than web without a startup check.
    let gated = checks.iter().any(|c| c.r#type == CheckType::Startup);
    if checks.is_empty() || (process != WEB && !gated) {
        checks.push(uptime());
    }
    if process == WEB && !show_listening(&checks, port) {
        checks.push(gate(port));
    }
    (checks, notes)
}

/// Whether the readiness checks show that a process listens on `port` of the pod's IP. A request shows this only if the
/// kubelet sends it, from outside the pod; the prober sends its requests inside, where 127.0.0.1 answers, too.
fn show_listening(checks: &[Check], port: i32) -> bool {
    let ready: Vec<&Check> = checks
        .iter()
        .filter(|check| check.r#type == CheckType::Readiness)
        .collect();
    let alone = ready.len() == 1;
    ready.into_iter().any(|check| {
        check.port == Some(port)
            && match kind(check) {
                Kind::Listening => true,
                Kind::Path => alone && check.content.is_none(),
                Kind::Command | Kind::Uptime => false,
            }
    })
}

fn uptime() -> Check {
    Check {
        r#type: CheckType::Startup,
        uptime: Some(UPTIME),
        ..Check::default()
    }
}

fn gate(port: i32) -> Check {
    Check {
        r#type: CheckType::Readiness,
        listening: Some(true),
        port: Some(port),
        attempts: Some(ATTEMPTS),
        wait: Some(GATE_WAIT),
        timeout: Some(TIMEOUT),
        initial_delay: Some(INITIAL_DELAY),
        ..Check::default()
    }
}

/// `check` with its defaults, reduced to the one thing that it tests.
fn complete(check: &Check, port: i32, note: &mut impl FnMut(&str)) -> Result<Check, &'static str> {
    // Without `..`, so that a new field has to be handled here.
    let Check {
        r#type,
        name,
        path,
        content,
        http_headers,
        scheme,
        command,
        listening: _,
        uptime,
        port: own_port,
        attempts,
        wait,
        timeout,
        initial_delay,
    } = check;
    let kind = kind(check);
    let said = [
        check.listening == Some(true),
        !command.is_empty(),
        asks(check),
        uptime.is_some(),
    ];
    if said.into_iter().filter(|said| *said).count() > 1 {
        note(match kind {
            Kind::Listening => "says several things: only `listening` counts",
            Kind::Command => "says several things: only `command` counts",
            Kind::Path | Kind::Uptime => "says several things: only the request counts",
        });
    }
    let name = name
        .as_deref()
        .map(|name| name.chars().take(64).collect::<String>())
        .filter(|name| !name.is_empty());
    if kind == Kind::Uptime {
        if *r#type != CheckType::Startup {
            return Err("`uptime` is a startup check and says nothing about a process that runs");
        }
        return Ok(Check {
            r#type: *r#type,
            name,
            uptime: uptime.map(|seconds| seconds.clamp(1, 3600)),
            ..Check::default()
        });
    }
    let asked_port = own_port.unwrap_or(port);
    if !(1..=65535).contains(&asked_port) {
        return Err("its port is not between 1 and 65535");
    }
    let mut whole = Check {
        r#type: *r#type,
        name,
        port: Some(asked_port),
        attempts: Some(attempts.unwrap_or(ATTEMPTS).clamp(1, 1000)),
        wait: Some(wait.unwrap_or(WAIT).clamp(1, 3600)),
        timeout: Some(timeout.unwrap_or(TIMEOUT).clamp(1, 3600)),
        initial_delay: Some(initial_delay.unwrap_or(INITIAL_DELAY).clamp(0, 3600)),
        ..Check::default()
    };
    match kind {
        Kind::Listening => whole.listening = Some(true),
        Kind::Command => {
            if command.len() > 64 || command.iter().any(|word| word.chars().count() > 4096) {
                return Err(
                    "its command has more than 64 words, or one of more than 4096 characters",
                );
            }
            // A port means nothing to a command, and a Release has no fields without a meaning.
            whole.port = None;
            whole.command.clone_from(command);
        }
        Kind::Path | Kind::Uptime => {
            let path = path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
            if !path.starts_with('/') || path.chars().count() > 1024 {
                return Err("its path does not begin with / or has more than 1024 characters");
            }
            let content = content.clone().filter(|text| !text.is_empty());
            if content.as_ref().is_some_and(|c| c.chars().count() > 1024) {
                return Err("its content has more than 1024 characters");
            }
            if http_headers.len() > 16 || !http_headers.iter().all(is_header) {
                return Err(
                    "it has more than 16 headers, or one that no probe can send: a name has letters, digits and -",
                );
            }
            whole.path = Some(path.to_owned());
            whole.content = content;
            whole.http_headers.clone_from(http_headers);
            whole.scheme = Some(scheme.unwrap_or_default());
        }
    }
    Ok(whole)
}

/// Whether the schema and Kubernetes' probes accept the header.
fn is_header(header: &HttpHeader) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=256).contains(&header.name.len())
        && header.name.chars().all(plain)
        && header.value.chars().count() <= 4096
        && !header.value.contains(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(r#type: CheckType, path: &str) -> Check {
        Check {
            r#type,
            path: Some(path.into()),
            ..Check::default()
        }
    }

    fn kinds(checks: &[Check]) -> Vec<(CheckType, Kind)> {
        checks.iter().map(|c| (c.r#type, kind(c))).collect()
    }

    #[test]
    fn a_process_gets_what_dokku_would_run() {
        use CheckType::{Liveness, Readiness, Startup};
        type Case<'a> = (&'a str, &'a [Check], &'a [(CheckType, Kind)]);
        let startup = [path(Startup, "/up")];
        let liveness = [path(Liveness, "/up")];
        let readiness = [path(Readiness, "/up")];
        let cases: [Case; 8] = [
            (
                "web",
                &[],
                &[(Startup, Kind::Uptime), (Readiness, Kind::Listening)],
            ),
            ("worker", &[], &[(Startup, Kind::Uptime)]),
            (
                "web",
                &startup,
                &[(Startup, Kind::Path), (Readiness, Kind::Listening)],
            ),
            ("worker", &startup, &[(Startup, Kind::Path)]),
            (
                "web",
                &liveness,
                &[(Liveness, Kind::Path), (Readiness, Kind::Listening)],
            ),
            (
                "worker",
                &liveness,
                &[(Liveness, Kind::Path), (Startup, Kind::Uptime)],
            ),
            // A request of the kubelet shows that a process listens.
            ("web", &readiness, &[(Readiness, Kind::Path)]),
            (
                "worker",
                &readiness,
                &[(Readiness, Kind::Path), (Startup, Kind::Uptime)],
            ),
        ];
        for (process, app_json, expected) in cases {
            let (checks, notes) = resolve(process, None, app_json, 5000);
            assert_eq!(kinds(&checks), expected, "{process} {app_json:?}");
            assert!(notes.is_empty(), "{notes:?}");
        }
    }

    #[test]
    fn the_spec_stands_for_all_of_app_json() {
        let spec = Checks(vec![path(CheckType::Startup, "/spec")]);
        let (checks, _) = resolve(
            "worker",
            Some(&spec),
            &[path(CheckType::Startup, "/json")],
            5000,
        );
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].path.as_deref(), Some("/spec"));
        let (checks, _) = resolve(
            "worker",
            Some(&Checks::default()),
            &[path(CheckType::Startup, "/json")],
            5000,
        );
        assert_eq!(kinds(&checks), [(CheckType::Startup, Kind::Uptime)]);
    }

    #[test]
    fn every_default_is_filled_in() {
        let bare = Check::default();
        let (checks, _) = resolve("worker", None, &[bare], 8080);
        assert_eq!(
            checks,
            [Check {
                path: Some("/".into()),
                scheme: Some(Scheme::Http),
                port: Some(8080),
                attempts: Some(3),
                wait: Some(5),
                timeout: Some(5),
                initial_delay: Some(0),
                ..Check::default()
            }]
        );
    }

    #[test]
    fn a_readiness_check_on_another_port_does_not_stand_for_the_gate() {
        let mut other = path(CheckType::Readiness, "/");
        other.port = Some(9000);
        let (checks, _) = resolve("web", None, &[other], 5000);
        assert_eq!(
            kinds(&checks),
            [
                (CheckType::Readiness, Kind::Path),
                (CheckType::Readiness, Kind::Listening)
            ]
        );
    }

    #[test]
    fn a_request_that_the_prober_makes_does_not_stand_for_the_gate() {
        let ready = |check: Check| Check {
            r#type: CheckType::Readiness,
            ..check
        };
        let up = || path(CheckType::Readiness, "/up");
        let content = ready(Check {
            content: Some("ok".into()),
            ..up()
        });
        let command = ready(Check {
            command: vec!["true".into()],
            ..Check::default()
        });
        let listening = ready(Check {
            listening: Some(true),
            ..Check::default()
        });
        for (wanted, gated) in [
            (vec![content.clone()], true),
            (vec![up(), up()], true),
            (vec![up(), command], true),
            (vec![content, listening], false),
            // The startup probe is another one: this request is the kubelet's.
            (vec![up(), path(CheckType::Startup, "/")], false),
        ] {
            let (checks, notes) = resolve("web", None, &wanted, 5000);
            assert_eq!(
                checks.len() - wanted.len(),
                usize::from(gated),
                "{wanted:?}"
            );
            assert!(checks.iter().any(|check| *check == gate(5000)) == gated);
            assert!(notes.is_empty(), "{notes:?}");
        }
    }

    #[test]
    fn what_cannot_be_run_is_left_out_with_a_note() {
        let cases = [
            (
                Check {
                    uptime: Some(5),
                    r#type: CheckType::Liveness,
                    ..Check::default()
                },
                "startup check",
            ),
            (path(CheckType::Startup, "up"), "begin with /"),
            (
                Check {
                    port: Some(0),
                    ..Check::default()
                },
                "between 1 and 65535",
            ),
            (
                Check {
                    http_headers: vec![HttpHeader {
                        name: "A b".into(),
                        value: String::new(),
                    }],
                    ..Check::default()
                },
                "headers",
            ),
        ];
        for (check, expected) in cases {
            let (checks, notes) = resolve("worker", None, std::slice::from_ref(&check), 5000);
            assert_eq!(
                kinds(&checks),
                [(CheckType::Startup, Kind::Uptime)],
                "{check:?}"
            );
            assert_eq!(notes.len(), 1);
            assert!(notes[0].0.contains(expected), "{notes:?}");
            assert!(
                notes[0]
                    .0
                    .starts_with("app.json: worker's check number 1: "),
                "{notes:?}"
            );
        }
    }

    #[test]
    fn of_several_things_the_first_in_order_counts() {
        let all = Check {
            listening: Some(true),
            command: vec!["true".into()],
            path: Some("/".into()),
            uptime: Some(3),
            ..Check::default()
        };
        for (check, expected) in [
            (all.clone(), Kind::Listening),
            (
                Check {
                    listening: None,
                    ..all.clone()
                },
                Kind::Command,
            ),
            (
                Check {
                    listening: None,
                    command: vec![],
                    ..all.clone()
                },
                Kind::Path,
            ),
            (
                Check {
                    listening: Some(false),
                    command: vec![],
                    path: None,
                    ..all
                },
                Kind::Uptime,
            ),
        ] {
            let (checks, notes) = resolve("worker", None, std::slice::from_ref(&check), 5000);
            assert_eq!(kind(&checks[0]), expected);
            assert_eq!(
                notes.len(),
                usize::from(expected != Kind::Uptime),
                "{notes:?}"
            );
            // A check in a Release tests one thing.
            assert_eq!(resolve("worker", None, &checks, 5000), (checks, vec![]));
        }
    }

    #[test]
    fn messages_say_what_was_asked() {
        let (checks, _) = resolve("web", None, &[path(CheckType::Startup, "/up")], 5000);
        assert_eq!(
            asked(&checks[0]),
            "GET http://pod:5000/up answered with 2xx"
        );
        assert_eq!(asked(&checks[1]), "something listening on port 5000");
    }
}
