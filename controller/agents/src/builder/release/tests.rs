//! What buildpacks write about their release, and what is read of it.

use crate::builder::release::{Released, flat_map, parse};

fn released(processes: &[(&str, &str)], vars: &[(&str, &str)]) -> Released {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    Released {
        processes: map(processes),
        config_vars: map(vars),
    }
}

#[test]
fn each_legal_form_is_read() {
    let cases = [
        ("", released(&[], &[])),
        ("---\n", released(&[], &[])),
        ("--- {}\n", released(&[], &[])),
        (
            "---\naddons:\n- heroku-postgresql\nconfig_vars:\n",
            released(&[], &[]),
        ),
        ("default_process_types:\n", released(&[], &[])),
        (
            "default_process_types:\n  web: gunicorn -b :$PORT app; true\n",
            released(&[("web", "gunicorn -b :$PORT app; true")], &[]),
        ),
        (
            "default_process_types: {web: 'a: b', worker: \"x\\ty\", none: }",
            released(&[("web", "a: b"), ("worker", "x\ty")], &[]),
        ),
        (
            "default_process_types:\n  web: >-\n    a\n    b\nconfig_vars: {A: 1, B: true, C: 'x\"y', D: 1.5}",
            released(
                &[("web", "a b")],
                &[("A", "1"), ("B", "true"), ("C", "x\"y"), ("D", "1.5")],
            ),
        ),
        (
            "{\"default_process_types\": {\"web\": \"x\"}}",
            released(&[("web", "x")], &[]),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text.as_bytes()), Ok(expected), "{text:?}");
    }
}

#[test]
fn what_is_no_release_is_refused() {
    for text in [
        "web: [",
        "text",
        "- a",
        "default_process_types: x",
        "default_process_types: {web: [a]}",
        "a: 1\n---\nb: 2",
        "\u{fffd}\t- : :",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn a_document_that_grows_when_read_is_refused() {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (this, before) in ('b'..='z').zip('a'..) {
        let line = format!(
            "{this}: &{this} [*{before},*{before},*{before},*{before},*{before},*{before}]\n"
        );
        text.push_str(&line);
    }
    assert!(parse(text.as_bytes()).is_err());
}

#[test]
fn a_report_is_flat_and_bounded() {
    let map =
        flat_map(br#"{"version": "3.13", "seconds": 1.5, "ok": true, "list": [1], "none": null}"#);
    assert_eq!(map.len(), 3);
    assert_eq!(map["seconds"], "1.5");
    assert_eq!(
        flat_map(b"failure_reason: no-lock\n")["failure_reason"],
        "no-lock"
    );
    assert!(flat_map(b"- a").is_empty() && flat_map(b"\xff").is_empty());
    let many: String = (0..100)
        .map(|i| format!("k{i}: v"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(flat_map(many.as_bytes()).len(), 64);
}
