//! Procfiles as people write them, and their processes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::files::procfile::{Declared, Merged, Process, merge, name, parse};

fn types(text: &str) -> Vec<(String, String)> {
    parse(text)
        .unwrap()
        .processes
        .into_iter()
        .map(|p| (p.name, p.command))
        .collect()
}

#[test]
fn each_legal_form_is_read() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("web: gunicorn app:app", &[("web", "gunicorn app:app")]),
        ("web:x\nworker : y", &[("web", "x"), ("worker", "y")]),
        (
            "\u{feff}web: x\r\nclock: y\r\n",
            &[("web", "x"), ("clock", "y")],
        ),
        ("web: x\rclock: y\r", &[("web", "x"), ("clock", "y")]),
        ("web: x\rclock: y\n", &[("web", "x"), ("clock", "y")]),
        ("web: x // y", &[("web", "x // y")]),
        ("# a\n  // b\n\n  web:\tx  \n", &[("web", "x")]),
        ("Send_Mail: x", &[("send-mail", "x")]),
        ("web: echo \"a # b\" # c", &[("web", "echo \"a # b\" # c")]),
        ("web: curl http://x # y", &[("web", "curl http://x # y")]),
        ("b: 1\na: 2", &[("b", "1"), ("a", "2")]),
        ("", &[]),
        ("# only a comment", &[]),
        ("web: x \\\n\n", &[("web", "x \\")]),
    ];
    for (text, expected) in cases {
        let expected: Vec<_> = expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        assert_eq!(types(text), expected, "{text:?}");
    }
}

#[test]
fn errors_name_the_line_and_what_to_do() {
    let cases = [
        (
            "web: x\nnonsense",
            "line 2: \"nonsense\" is no process type",
        ),
        ("<<<<<<< HEAD", "no process type"),
        ("we b: x", "no process type"),
        (": x", "no process type"),
        ("web:", "line 1: process type \"web\" has no command"),
        (
            "web: x\nworker: # none yet",
            "line 2: process type \"worker\" has no command",
        ),
        (
            "web: gunicorn \\\n  app:app",
            "line 1: the command of process type \"web\" ends in a backslash",
        ),
        (
            "web: x\rclock: y\nworker: z",
            "line 1: a carriage return stands within the line",
        ),
        (
            "web: x\nweb: y",
            "line 2: process type \"web\" stands in line 1 already",
        ),
        (
            "a_b: x\n\nA-b: y",
            "line 3: process type \"A-b\" stands in line 1 already: capitals",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn a_name_that_cannot_be_had_is_left_out_and_the_rest_counts() {
    let long = "x".repeat(64);
    for (line, expected) in [
        (
            "-web: x",
            "Procfile line 2: process type \"-web\" is left out: it does not begin",
        ),
        ("web_: x", "does not begin and end"),
        (
            &format!("{long}: x"),
            "is left out: it is too long: a name has at most 63",
        ),
    ] {
        let declared = parse(&format!("web: y\n{line}\nclock: z")).unwrap();
        let names: Vec<_> = declared.processes.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["web", "clock"], "{line}");
        assert_eq!(declared.left_out.len(), 1);
        let said = &declared.left_out[0];
        assert!(said.contains(expected) && said.len() < 400, "{said}");
    }
    let longest = "Send_weekly-".repeat(5) + "abc";
    assert_eq!(types(&format!("{longest}: x"))[0].0.len(), 63);
}

#[test]
fn the_procfile_wins_and_decides_about_web() {
    let defaults = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    let process = |name: &str| Process {
        name: name.into(),
        command: format!("own {name}"),
    };
    let release = defaults(&[("web", "default"), ("rake", "r"), ("a.name", "l")]);
    let declared = |names: &[&str]| Declared {
        processes: names.iter().map(|name| process(name)).collect(),
        ..Declared::default()
    };
    let merged = merge(&declared(&["web"]), &release);
    assert_eq!(merged.processes["web"], "own web");
    assert_eq!(merged.declared, ["web"]);
    assert_eq!(merged.defaults, ["rake"]);
    assert_eq!(merged.refused.len(), 1);
    assert!(!merged.without_web);

    let merged = merge(&declared(&["worker"]), &release);
    assert!(merged.without_web && !merged.processes.contains_key("web"));
    assert_eq!(merged.processes.len(), 2);

    let only_left_out = Declared {
        left_out: vec!["one".into()],
        ..Declared::default()
    };
    assert!(merge(&only_left_out, &release).without_web);

    let merged = merge(&declared(&[]), &release);
    assert_eq!(merged.processes["web"], "default");
    assert_eq!(merge(&declared(&[]), &BTreeMap::new()), Merged::default());
}

proptest! {
    #[test]
    fn whatever_is_read_is_legal_and_unique(text in "(([a-zA-Z_-]{0,8}|web)[ ]?:?[ a-z#]{0,6}\n?){0,8}") {
        if let Ok(Declared { processes, .. }) = parse(&text) {
            let mut names: Vec<_> = processes.iter().map(|p| p.name.clone()).collect();
            for p in &processes {
                prop_assert_eq!(name(&p.name), Ok(p.name.clone()));
                prop_assert!(!p.command.trim().is_empty());
            }
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), processes.len());
        }
    }

    #[test]
    fn what_is_written_out_is_read_back(pairs in proptest::collection::btree_map("[a-z][a-z0-9]{0,62}", "[!-~]([ -~]{0,30}[!-~])?", 0..8)) {
        prop_assume!(pairs.values().all(|command| !command.starts_with('#') && !command.ends_with('\\')));
        let text: String = pairs.iter().map(|(n, c)| format!("{n}: {c}")).collect::<Vec<_>>().join("\n");
        let read: BTreeMap<_, _> = parse(&text).unwrap().processes.into_iter().map(|p| (p.name, p.command)).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}
