//! Checks as Dokku would run them.

use crate::domain::checks::{Kind, asked, gate, kind, resolve};
use slipway_crds::v1alpha1::{Check, CheckType, Checks, HttpHeader, Scheme};

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
