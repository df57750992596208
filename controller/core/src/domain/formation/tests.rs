//! Processes, and where their commands and numbers come from.

use crate::domain::formation::{Formation, FormationError, Offered, formation};
use slipway_crds::v1alpha1::Process;
use std::collections::BTreeMap;

fn types(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    lines
        .iter()
        .map(|(n, c)| ((*n).to_owned(), (*c).to_owned()))
        .collect()
}

fn spec(lines: &[(&str, Option<&str>)]) -> BTreeMap<String, Process> {
    lines
        .iter()
        .map(|(n, c)| {
            let command = c.map(str::to_owned);
            (
                (*n).to_owned(),
                Process {
                    command,
                    ..Process::default()
                },
            )
        })
        .collect()
}

fn shown(formation: &Formation) -> Vec<String> {
    formation
        .processes
        .iter()
        .map(|(name, p)| {
            format!(
                "{name}={} {}",
                p.replicas,
                p.command.as_deref().unwrap_or("(image's own)")
            )
        })
        .collect()
}

#[test]
fn the_procfile_gives_the_processes_and_web_runs_once() {
    let types = types(&[("web", "serve"), ("worker", "work")]);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
    assert_eq!(shown(&found), ["web=1 serve", "worker=0 work"]);
}

#[test]
fn without_web_none_runs() {
    let types = types(&[("worker", "work")]);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
    assert_eq!(shown(&found), ["worker=0 work"]);
    assert!(
        found.notes[0].contains("nothing runs") && found.notes[0].contains(".worker.replicas"),
        "{:?}",
        found.notes
    );
    // 0 replicas that the author asked for need no note.
    let mut spec = spec(&[("worker", None)]);
    spec.get_mut("worker").unwrap().replicas = Some(0);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
    assert_eq!(found.notes, [""; 0]);
}

#[test]
fn a_formation_in_app_json_counts_for_every_process() {
    let types = types(&[("clock", "tick"), ("web", "serve"), ("worker", "work")]);
    let quantities = BTreeMap::from([("worker".to_owned(), 3)]);
    let found = formation(&Offered::Build(&types), &quantities, &BTreeMap::new()).unwrap();
    assert_eq!(
        shown(&found),
        ["clock=0 tick", "web=0 serve", "worker=3 work"]
    );
}

#[test]
fn the_spec_wins_and_adds() {
    let types = types(&[("web", "serve")]);
    let spec = spec(&[("web", Some("serve --fast")), ("extra", Some("more"))]);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
    assert_eq!(shown(&found), ["extra=0 more", "web=1 serve --fast"]);
}

#[test]
fn an_image_runs_its_own_command() {
    for (lines, wanted) in [
        (spec(&[]), vec!["web=1 (image's own)"]),
        (spec(&[("web", None)]), vec!["web=1 (image's own)"]),
        (
            spec(&[("web", Some("serve")), ("worker", Some("work"))]),
            vec!["web=1 serve", "worker=0 work"],
        ),
        (spec(&[("worker", Some("work"))]), vec!["worker=0 work"]),
        (
            spec(&[("worker", None)]),
            vec!["web=1 (image's own)", "worker=0 (image's own)"],
        ),
    ] {
        let found = formation(&Offered::Image, &BTreeMap::new(), &lines).unwrap();
        assert_eq!(shown(&found), wanted);
    }
}

#[test]
fn a_release_line_is_no_process_and_an_illegal_name_is_left_out_unless_it_is_to_run() {
    let types = types(&[
        ("release", "migrate"),
        ("web", "serve"),
        ("Side_Kiq", "work"),
    ]);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
    assert_eq!(shown(&found), ["web=1 serve"]);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    let quantities = BTreeMap::from([("Side_Kiq".to_owned(), 1)]);
    let error = formation(&Offered::Build(&types), &quantities, &BTreeMap::new()).unwrap_err();
    assert_eq!(
        error,
        FormationError::IllegalName {
            name: "Side_Kiq".into()
        }
    );
}

#[test]
fn procfile_and_spec_together_are_what_a_release_can_have() {
    let offered: BTreeMap<String, String> =
        (0..40).map(|n| (format!("a{n}"), "x".into())).collect();
    let form = |count: usize, bytes: usize| {
        let command = "é".repeat(bytes / 2);
        let spec = (0..count).map(|n| {
            let process = Process {
                command: Some(command.clone()),
                ..Process::default()
            };
            (format!("b{n}"), process)
        });
        formation(&Offered::Build(&offered), &BTreeMap::new(), &spec.collect())
            .map(|found| found.processes.len())
    };
    assert_eq!(form(24, 8192), Ok(64));
    assert_eq!(form(25, 8192), Err(FormationError::TooMany { count: 65 }));
    let error = form(1, 8194).unwrap_err().to_string();
    assert!(
        error.contains("process b0 has 8194 bytes") && error.contains("a script"),
        "{error}"
    );
}

#[test]
fn a_process_that_is_gone_and_of_which_none_is_to_run_stops_nothing() {
    let types = types(&[("web", "serve")]);
    let mut spec = spec(&[("job", None)]);
    spec.get_mut("job").unwrap().replicas = Some(0);
    let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
    assert_eq!(shown(&found), ["web=1 serve"]);
    assert!(found.left_out.contains("job"));
    assert!(found.notes[0].contains("spec.processes.job is left out"));
    spec.get_mut("job").unwrap().replicas = Some(1);
    let error = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap_err();
    let wanted = "or take spec.processes.job out";
    assert!(error.to_string().contains(wanted), "{error}");
}

#[test]
fn errors_say_what_there_is_and_what_to_do() {
    let types = types(&[("web", "serve")]);
    let error = formation(
        &Offered::Build(&types),
        &BTreeMap::new(),
        &spec(&[("wrok", None)]),
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("there are web") && error.contains("Procfile"),
        "{error}"
    );
    let none = BTreeMap::new();
    let error = formation(&Offered::Build(&none), &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
    assert_eq!(error, FormationError::Nothing);
}
