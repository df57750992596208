//! Files as people write them.

use crate::domain::app_json::{AppJson, buildpacks, parse};
use proptest::prelude::*;
use slipway_crds::v1alpha1::{Check, CheckType};

#[test]
fn comments_and_trailing_commas_are_taken() {
    let found = parse(
        r#"{
                // how many
                "formation": {"web": {"quantity": 2,}, "worker": {},},
                "healthchecks": {"web": [{"type": "startup", "path": "/up", "attempts": 0, "wait": 2}]},
                "name": "x", "website": "y", /* unknown keys mean nothing */
            }"#,
    )
    .unwrap();
    assert_eq!(
        found.formation.into_iter().collect::<Vec<_>>(),
        [("web".to_owned(), 2)]
    );
    assert_eq!(
        found.checks["web"],
        [Check {
            r#type: CheckType::Startup,
            path: Some("/up".into()),
            wait: Some(2),
            ..Check::default()
        }]
    );
    assert_eq!(found.notes, [""; 0]);
}

#[test]
fn processes_are_named_as_in_the_procfile() {
    let found = parse(
        r#"{
                "formation": {"My_Worker": {"quantity": 2}, "_x": {"quantity": 1}},
                "healthchecks": {"WEB": [{"type": "startup", "path": "/up"}]},
            }"#,
    )
    .unwrap();
    assert_eq!(
        found.formation.into_iter().collect::<Vec<_>>(),
        [("my-worker".to_owned(), 2)]
    );
    assert_eq!(found.checks["web"].len(), 1);
    assert_eq!(
        found.notes,
        [
            "app.json, formation._x: is left out: the name does not begin and end with a letter or digit"
        ]
    );
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(parse("").unwrap(), AppJson::default());
    assert_eq!(parse("{}").unwrap(), AppJson::default());
    assert_eq!(parse("\u{feff}{}").unwrap(), AppJson::default());
    for text in ["", "\u{feff}\n", "{}", r#"{"buildpacks": null}"#] {
        assert_eq!(buildpacks(text).unwrap(), [""; 0], "{text:?}");
    }
}

#[test]
fn buildpacks_are_objects_with_a_url() {
    let text = r#"{"buildpacks": [{"url": "heroku/nodejs"}, {"url": "python"},]}"#;
    assert_eq!(buildpacks(text).unwrap(), ["heroku/nodejs", "python"]);
    for (text, wanted) in [
        (
            r#"{"buildpacks": "python"}"#,
            "buildpacks: has to be a list",
        ),
        (
            r#"{"buildpacks": [{"url": "a"}, "python"]}"#,
            "buildpacks[1]: has to be an object with a url",
        ),
        ("{'buildpacks': []}", "app.json, line 1"),
    ] {
        let message = buildpacks(text).unwrap_err().to_string();
        assert!(message.contains(wanted), "{text}: {message}");
    }
}

#[test]
fn entries_that_do_not_run_are_noted() {
    for (entry, wanted) in [
        (r#"{"path": "/"}"#, "healthchecks.web[0]: has no type"),
        (r#"{"type": "boot"}"#, "none of startup"),
        (r#"{"type": "startup", "warn": true}"#, "warn"),
        (
            r#"{"type": "liveness", "uptime": 3}"#,
            "uptime is a startup check",
        ),
    ] {
        let found = parse(&format!(r#"{{"healthchecks": {{"web": [{entry}]}}}}"#)).unwrap();
        assert_eq!(found.checks["web"], [], "{entry}");
        assert!(found.notes[0].contains(wanted), "{:?}", found.notes);
    }
}

#[test]
fn what_is_not_honoured_is_noted() {
    let found =
        parse(r#"{"env": {"A": "b"}, "scripts": {"postdeploy": "x"}, "cron": []}"#).unwrap();
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
}

#[test]
fn each_field_of_a_check_says_what_it_has_to_be() {
    let long = "x".repeat(5000);
    for (fields, wanted) in [
        (
            r#""httpHeaders": {"Host": "x"}"#,
            r#".httpHeaders: has to be a list: [{"name": "…", "value": "…"}]"#,
        ),
        (
            r#""httpHeaders": ["Host: x"]"#,
            ".httpHeaders[0]: has to be an object",
        ),
        (
            r#""httpHeaders": [{"name": "Host"}]"#,
            ".httpHeaders[0]: has to be an object",
        ),
        (
            r#""httpHeaders": [{"name": "X_Y", "value": ""}]"#,
            ".httpHeaders[0].name: has only letters",
        ),
        (
            r#""httpHeaders": [{"name": "X", "value": "a\nb"}]"#,
            ".httpHeaders[0].value: is one line",
        ),
        (
            r#""command": "curl -f localhost""#,
            r#".command: has to be a list of texts: ["curl","#,
        ),
        (
            r#""command": ["sleep", 1]"#,
            ".command[1]: has to be a text in quotes",
        ),
        (
            r#""timeout": "5""#,
            ".timeout: has to be a whole number without quotes: 5",
        ),
        (
            r#""wait": "5s""#,
            ".wait: has to be a whole number without quotes: 5",
        ),
        (
            r#""attempts": 1.5"#,
            ".attempts: has to be a whole number, without quotes, of at most 1000",
        ),
        (
            r#""initialDelay": true"#,
            ".initialDelay: has to be a whole number",
        ),
        (r#""uptime": [1]"#, ".uptime: has to be a whole number"),
        (r#""port": 70000"#, ".port: is at most 65535"),
        (
            r#""listening": "true""#,
            ".listening: has to be true or false, without quotes",
        ),
        (r#""warn": 1"#, ".warn: has to be true or false"),
        (r#""path": 1"#, ".path: has to be a text in quotes"),
        (r#""path": "up""#, ".path: has to begin with '/'"),
        (
            r#""content": ["ok"]"#,
            ".content: has to be a text in quotes",
        ),
        (
            &format!(r#""content": "{long}""#),
            ".content: has at most 1024 characters",
        ),
        (r#""scheme": 443"#, ".scheme: has to be a text in quotes"),
        (r#""name": {}"#, ".name: has to be a text in quotes"),
        (r#""type": 1"#, ".type: has to be a text in quotes"),
    ] {
        let own = if fields.contains("type") {
            ""
        } else {
            r#""type": "startup", "#
        };
        let text = format!(r#"{{"healthchecks": {{"web": [{{{own}{fields}}}]}}}}"#);
        let error = parse(&text).unwrap_err().to_string();
        let wanted = format!("app.json, healthchecks.web[0]{wanted}");
        assert!(error.starts_with(&wanted), "{fields}: {error}");
    }
    for (text, wanted) in [
        (
            r#"{"healthchecks": {"web": {"type": "startup"}}}"#,
            "healthchecks.web: has to be a list: [{",
        ),
        (
            r#"{"healthchecks": {"web": ["startup"]}}"#,
            "healthchecks.web[0]: has to be an object: {",
        ),
        (
            r#"{"healthchecks": []}"#,
            "healthchecks: has to be an object",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn keys_that_are_nearly_right_or_stand_twice_are_noted() {
    for (text, wanted) in [
        (
            r#"{"formations": {"web": {"quantity": 2}}}"#,
            "app.json, formations: is not read; it is called formation",
        ),
        (r#"{"healthChecks": {}}"#, "it is called healthchecks"),
        (r#"{"buildpack": []}"#, "it is called buildpacks"),
        (
            r#"{"formation": {"web": {"Quantity": 2}}}"#,
            "formation.web.Quantity: is not read; it is called quantity",
        ),
        (
            r#"{"formation": {"web": 2}}"#,
            r#"formation.web: is left out: it has to be an object: {"quantity": 1}"#,
        ),
        (
            r#"{"formation": {"web": {"size": "standard-1x"}}}"#,
            "spec.processes.web.resources",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "http_headers": []}]}}"#,
            "healthchecks.web[0].http_headers: is not read; it is called httpHeaders",
        ),
        (
            "{\"buildpacks\": [{\"url\": \"a\",\n\"url\": \"b\"}]}",
            "app.json, line 2: buildpacks[0].url stands there twice; the last one counts",
        ),
        (
            "{\"formation\": {\"web\": {\"quantity\": 1}},\n\n\"formation\": {}}",
            "app.json, line 3: formation stands there twice",
        ),
    ] {
        let notes = parse(text).unwrap().notes;
        assert!(
            notes.len() == 1 && notes[0].contains(wanted),
            "{text}: {notes:?}"
        );
    }
}

#[test]
fn errors_say_where() {
    for (text, wanted) in [
        ("{\n  \"a\": tru\n}", "app.json, line 2, column 8"),
        ("[]", "the whole file"),
        (
            r#"{"formation": {"a_b": {}, "a-b": {}}}"#,
            "is the same process as a",
        ),
        (r#"{"formation": 3}"#, "formation: has to be an object"),
        (
            r#"{"formation": {"web": {"quantity": -1}}}"#,
            "formation.web.quantity",
        ),
        (
            r#"{"formation": {"web": {"quantity": "2"}}}"#,
            "whole number",
        ),
        (
            r#"{"healthchecks": {"web": {}}}"#,
            "healthchecks.web: has to be a list",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "attempts": "3"}]}}"#,
            "healthchecks.web[0]",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "path": "/", "command": ["a"]}]}}"#,
            "both path and command",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "path": "up"}]}}"#,
            "begin with '/'",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "scheme": "ftp"}]}}"#,
            "http or https",
        ),
        (
            r#"{"healthchecks": {"web": [{"type": "startup", "wait": 9999}]}}"#,
            "wait: is at most 3600",
        ),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(wanted), "{text}: {message}");
    }
}

proptest! {
    #[test]
    fn whatever_a_check_says_it_is_one_the_api_takes_or_told(
        key in proptest::sample::select(crate::domain::app_json::check::CHECK.to_vec()),
        value in "(-?[1-9][0-9]{0,5}|0|true|null|\"[/a-z\\n-]{0,9}\"|\\[(\"[a-z]{0,3}\"|[{]\"name\": \"[A-Za-z_-]{0,4}\", \"value\": \"[a-z]{0,3}\"[}])?\\]|[{][}])",
    ) {
        let text = format!("{{\"healthchecks\": {{\"web\": [{{\"type\": \"startup\", \"{key}\": {value}}}]}}}}");
        match parse(&text) {
            Ok(found) => {
                for check in found.checks.values().flatten() {
                    let within = |n: Option<i32>, most| n.is_none_or(|n| (1..=most).contains(&n));
                    prop_assert!(within(check.uptime, 3600) && within(check.port, 65535));
                    prop_assert!(within(check.attempts, 1000) && within(check.wait, 3600));
                    prop_assert!(check.path.as_ref().is_none_or(|p| p.starts_with('/')));
                    prop_assert!(check.http_headers.iter().all(|h| !h.name.is_empty() && !h.name.contains('_')));
                }
            }
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.contains(": has ") || error.contains(": is "), "{}", error);
            }
        }
    }

    #[test]
    fn no_text_makes_it_fall_over(text in "[\\[\\]{}\":,a-z0-9/* \n]{0,60}") {
        let _ = parse(&text);
    }
}
