//! The text of a repository's app.json → what of it counts here: buildpacks, formation and health checks. Pure.
//!
//! JSON with comments and trailing commas. Keys that mean nothing here are left alone; those that a user may count on
//! and that are not honoured are noted.

use std::collections::BTreeMap;

use jsonc_parser::ParseOptions;
use serde::Deserialize;
use serde_json::{Map, Value};
use slipway_crds::v1alpha1::{Check, CheckType, HttpHeader, Scheme};

use crate::domain::procfile;

/// What of an app.json counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppJson {
    /// `formation.PROCESS.quantity`. Where any stands here, a process that is not named runs no pod.
    pub formation: BTreeMap<String, i32>,
    /// `healthchecks.PROCESS`: those that run.
    pub checks: BTreeMap<String, Vec<Check>>,
    /// What is in the file and is not honoured.
    pub notes: Vec<String>,
}

/// Why an app.json cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppJsonError {
    /// It is no JSON.
    #[error("app.json, line {line}, column {column}: {what}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value is not what it has to be.
    #[error("app.json, {path}: {what}")]
    Field {
        /// For example `healthchecks.web[0].attempts`.
        path: String,
        /// What is wrong there.
        what: String,
    },
}

fn field(path: impl Into<String>, what: impl Into<String>) -> AppJsonError {
    AppJsonError::Field {
        path: path.into(),
        what: what.into(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCheck {
    r#type: Option<String>,
    name: Option<String>,
    attempts: Option<i64>,
    wait: Option<i64>,
    timeout: Option<i64>,
    initial_delay: Option<i64>,
    path: Option<String>,
    port: Option<i64>,
    scheme: Option<String>,
    content: Option<String>,
    http_headers: Option<Vec<HttpHeader>>,
    command: Option<Vec<String>>,
    listening: Option<bool>,
    uptime: Option<i64>,
    warn: Option<bool>,
    on_failure: Option<Value>,
}

/// The whole file. An empty one says nothing.
fn root(text: &str) -> Result<Map<String, Value>, AppJsonError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root: Value =
        jsonc_parser::parse_to_serde_value(text, &options).map_err(|e| AppJsonError::Syntax {
            line: e.line_display(),
            column: e.column_display(),
            what: e.kind().to_string(),
        })?;
    match root {
        Value::Null => Ok(Map::new()),
        Value::Object(root) => Ok(root),
        _ => Err(field("the whole file", "has to be an object: { … }")),
    }
}

/// The buildpacks that an app.json asks for, as written, in order.
pub fn buildpacks(text: &str) -> Result<Vec<String>, AppJsonError> {
    let root = root(text)?;
    let packs = match root.get("buildpacks") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(packs)) => packs,
        Some(_) => return Err(field("buildpacks", "has to be a list: [ … ]")),
    };
    let url = |(index, pack): (usize, &Value)| {
        let url = pack.get("url").and_then(Value::as_str);
        url.map(str::to_owned).ok_or_else(|| {
            let path = format!("buildpacks[{index}]");
            field(path, r#"has to be an object with a url: {"url": "…"}"#)
        })
    };
    packs.iter().enumerate().map(url).collect()
}

/// Reads what of an app.json counts for a Release.
pub fn parse(text: &str) -> Result<AppJson, AppJsonError> {
    let root = root(text)?;
    let mut found = AppJson::default();
    for (key, why) in [
        (
            "env",
            "its env is not applied: set the variables in spec.env",
        ),
        ("cron", "its cron entries do not run"),
        ("scripts", "its scripts do not run"),
    ] {
        if root.get(key).is_some_and(is_something) {
            found.notes.push(format!("app.json: {why}"));
        }
    }
    for (process, written, entry) in processes(&root, "formation", &mut found.notes)? {
        if let Some(quantity) = entry.get("quantity").filter(|q| !q.is_null()) {
            let path = format!("formation.{written}.quantity");
            let quantity = quantity
                .as_i64()
                .and_then(|q| i32::try_from(q).ok())
                .filter(|q| (0..=1000).contains(q))
                .ok_or_else(|| field(path, "has to be a whole number between 0 and 1000"))?;
            found.formation.insert(process, quantity);
        }
    }
    for (process, written, entries) in processes(&root, "healthchecks", &mut found.notes)? {
        let path = format!("healthchecks.{written}");
        let entries = entries
            .as_array()
            .ok_or_else(|| field(&path, "has to be a list: [ … ]"))?;
        let mut checks = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let raw = RawCheck::deserialize(entry).map_err(|e| field(&path, e.to_string()))?;
            checks.extend(check(&path, raw, &mut found.notes)?);
        }
        if checks.len() > 16 {
            return Err(field(path, "has more than 16 checks"));
        }
        found.checks.insert(process, checks);
    }
    Ok(found)
}

/// Entries by process: its name as the cluster has it, as it is written, and what stands there.
fn processes<'a>(
    root: &'a Map<String, Value>,
    key: &str,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, &'a str, &'a Value)>, AppJsonError> {
    let mut found: Vec<(String, &str, &Value)> = Vec::new();
    for (written, entry) in members(root, key)? {
        let name = match procfile::name(written) {
            Ok(name) => name,
            Err(why) => {
                notes.push(format!(
                    "app.json, {key}.{written}: is left out: the name {why}"
                ));
                continue;
            }
        };
        if let Some((_, before, _)) = found.iter().find(|(other, ..)| *other == name) {
            return Err(field(
                format!("{key}.{written}"),
                format!("is the same process as {before}: capitals become small, and _ becomes -"),
            ));
        }
        found.push((name, written, entry));
    }
    Ok(found)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(o) => !o.is_empty(),
        Value::Array(a) => !a.is_empty(),
        _ => true,
    }
}

fn members<'a>(
    root: &'a Map<String, Value>,
    key: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, AppJsonError> {
    let object = match root.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::Object(object)) => Some(object),
        Some(_) => return Err(field(key, "has to be an object: { … }")),
    };
    Ok(object.into_iter().flatten())
}

/// One entry of `healthchecks`; `None` where it does not run.
fn check(
    path: &str,
    raw: RawCheck,
    notes: &mut Vec<String>,
) -> Result<Option<Check>, AppJsonError> {
    let RawCheck {
        r#type,
        name,
        attempts,
        wait,
        timeout,
        initial_delay,
        path: url_path,
        port,
        scheme,
        content,
        http_headers,
        command,
        listening,
        uptime,
        warn,
        on_failure,
    } = raw;
    let mut leave_out = |why: String| {
        notes.push(format!("app.json, {path}: {why}"));
        Ok(None)
    };
    let r#type = match r#type.as_deref() {
        Some("startup") => CheckType::Startup,
        Some("readiness") => CheckType::Readiness,
        Some("liveness") => CheckType::Liveness,
        None | Some("") => {
            return leave_out(
                "has no type (startup, readiness or liveness), so it does not run".into(),
            );
        }
        Some(other) => {
            return leave_out(format!(
                "type {other:?} is none of startup, readiness and liveness, so it does not run"
            ));
        }
    };
    if warn == Some(true) {
        return leave_out(
            "has warn, so it could not fail a deploy, and it does not run".to_owned(),
        );
    }
    let uptime = number(path, "uptime", uptime, 3600)?;
    if uptime.is_some() && r#type != CheckType::Startup {
        return leave_out("uptime is a startup check, so it does not run".to_owned());
    }
    let scheme = match scheme.as_deref() {
        None | Some("") => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(_) => {
            return Err(field(
                format!("{path}.scheme"),
                "has to be either http or https",
            ));
        }
    };
    let url_path = url_path.filter(|p| !p.is_empty());
    if let Some(url) = &url_path
        && (!url.starts_with('/') || url.len() > 1024)
    {
        return Err(field(
            format!("{path}.path"),
            "has to begin with '/' and have at most 1024 characters",
        ));
    }
    let content = content.filter(|c| !c.is_empty());
    let http_headers = http_headers.unwrap_or_default();
    if let Some(header) = http_headers
        .iter()
        .find(|h| h.name.is_empty() || h.value.contains(['\r', '\n']))
    {
        return Err(field(
            format!("{path}.httpHeaders"),
            format!("{:?} is no header", header.name),
        ));
    }
    let command = command.unwrap_or_default();
    let listening = listening.filter(|l| *l);
    let kinds = [
        (
            "path",
            url_path.is_some() || content.is_some() || !http_headers.is_empty() || scheme.is_some(),
        ),
        ("command", !command.is_empty()),
        ("listening", listening.is_some()),
        ("uptime", uptime.is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, has)| has.then_some(kind))
    .collect::<Vec<_>>();
    if kinds.len() > 1 {
        return Err(field(
            path,
            format!("a check cannot have both {}", kinds.join(" and ")),
        ));
    }
    if on_failure.as_ref().is_some_and(is_something) {
        notes.push(format!(
            "app.json, {path}: its onFailure is not carried out; the check itself runs"
        ));
    }
    Ok(Some(Check {
        r#type,
        name: name
            .filter(|n| !n.is_empty())
            .map(|n| n.chars().take(64).collect()),
        path: url_path,
        content,
        http_headers,
        scheme,
        command,
        listening,
        uptime,
        port: number(path, "port", port, 65535)?,
        attempts: number(path, "attempts", attempts, 1000)?,
        wait: number(path, "wait", wait, 3600)?,
        timeout: number(path, "timeout", timeout, 3600)?,
        initial_delay: number(path, "initialDelay", initial_delay, 3600)?,
    }))
}

/// Zero and less mean the default, as they do to Dokku.
fn number(
    path: &str,
    name: &str,
    value: Option<i64>,
    most: i32,
) -> Result<Option<i32>, AppJsonError> {
    match value {
        None => Ok(None),
        Some(n) if n <= 0 => Ok(None),
        Some(n) => i32::try_from(n)
            .ok()
            .filter(|n| *n <= most)
            .map(Some)
            .ok_or_else(|| field(format!("{path}.{name}"), format!("is at most {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{AppJson, buildpacks, parse};
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
        fn no_text_makes_it_fall_over(text in "[\\[\\]{}\":,a-z0-9/* \n]{0,60}") {
            let _ = parse(&text);
        }
    }
}
