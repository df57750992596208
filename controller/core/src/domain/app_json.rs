//! The text of a repository's app.json → the parts that Slipway uses: buildpacks, formation and health checks. Pure.
//!
//! The file is JSON with comments and trailing commas. Other keys are ignored; if a user may rely on such a key, a note
//! says that it has no effect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::{Map, Value};
use slipway_crds::v1alpha1::{Check, CheckType, HttpHeader, Scheme};

use slipway_base::files::procfile;

/// Most duplicate keys of a file that are noted.
const NOTES: usize = 8;

/// The parts of an app.json that a Release uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppJson {
    /// `formation.PROCESS.quantity`. If there is any, a process without one runs no pod.
    pub formation: BTreeMap<String, i32>,
    /// `healthchecks.PROCESS`, without checks that cannot run.
    pub checks: BTreeMap<String, Vec<Check>>,
    /// What is in the file and has no effect.
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
    /// A value has the wrong type or is out of range.
    #[error("app.json, {path}: {what}")]
    Field {
        /// Its path, for example `healthchecks.web[0].attempts`.
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

const OPTIONS: ParseOptions = ParseOptions {
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

/// Parses the whole file. An empty file is an empty object.
fn root(text: &str) -> Result<Map<String, Value>, AppJsonError> {
    let root: Value =
        jsonc_parser::parse_to_serde_value(unmarked(text), &OPTIONS).map_err(|e| {
            AppJsonError::Syntax {
                line: e.line_display(),
                column: e.column_display(),
                what: e.kind().to_string(),
            }
        })?;
    match root {
        Value::Null => Ok(Map::new()),
        Value::Object(root) => Ok(root),
        _ => Err(field("the whole file", "has to be an object: { … }")),
    }
}

/// The text without a byte order mark.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Keys that are in one object twice. The last one counts; the others are lost.
fn twice(text: &str) -> Vec<String> {
    let text = unmarked(text);
    let collect = CollectOptions::default();
    let mut found = Vec::new();
    if let Ok(parsed) = parse_to_ast(text, &collect, &OPTIONS)
        && let Some(value) = &parsed.value
    {
        twice_in(text, value, &mut String::new(), &mut found);
    }
    found
}

fn twice_in(text: &str, value: &ast::Value<'_>, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match value {
        ast::Value::Object(object) => {
            let mut seen = BTreeSet::new();
            for property in &object.properties {
                let key = property.name.as_str();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                if !seen.insert(key) && found.len() < NOTES {
                    let before = text.get(..property.range.start).unwrap_or_default();
                    let line = before.matches('\n').count() + 1;
                    found.push(format!(
                        "app.json, line {line}: {} stands there twice; the last one counts",
                        shown(path)
                    ));
                }
                twice_in(text, &property.value, path, found);
                path.truncate(length);
            }
        }
        ast::Value::Array(array) => {
            for (index, element) in array.elements.iter().enumerate() {
                // Writing into a String does not fail.
                let _ = write!(path, "[{index}]");
                twice_in(text, element, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The buildpacks that an app.json names, as written, in order.
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

/// Reads the parts of an app.json that a Release uses.
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
    found.notes.extend(twice(text));
    let known = ["buildpacks", "formation", "healthchecks"];
    misspelt("", &root, &known, &mut found.notes);
    for (process, written, entry) in processes(&root, "formation", &mut found.notes)? {
        let path = format!("formation.{}", shown(written));
        let Some(entry) = entry.as_object() else {
            if !entry.is_null() {
                found.notes.push(format!(
                    "app.json, {path}: is left out: it has to be an object: {{\"quantity\": 1}}"
                ));
            }
            continue;
        };
        misspelt(&path, entry, &["quantity"], &mut found.notes);
        if entry.get("size").is_some_and(is_something) {
            found.notes.push(format!(
                "app.json, {path}.size: means nothing here: set spec.processes.{process}.resources"
            ));
        }
        if let Some(quantity) = entry.get("quantity").filter(|q| !q.is_null()) {
            let quantity = quantity
                .as_i64()
                .and_then(|q| i32::try_from(q).ok())
                .filter(|q| (0..=1000).contains(q))
                .ok_or_else(|| {
                    field(
                        format!("{path}.quantity"),
                        "has to be a whole number between 0 and 1000, without quotes",
                    )
                })?;
            found.formation.insert(process, quantity);
        }
    }
    for (process, written, entries) in processes(&root, "healthchecks", &mut found.notes)? {
        let path = format!("healthchecks.{}", shown(written));
        let entries = entries
            .as_array()
            .ok_or_else(|| field(&path, r#"has to be a list: [{"type": "startup", …}]"#))?;
        let mut checks = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let entry = Entry {
                path: format!("{path}[{index}]"),
                fields: entry.as_object().ok_or_else(|| {
                    let path = format!("{path}[{index}]");
                    field(path, r#"has to be an object: {"type": "startup", …}"#)
                })?,
            };
            checks.extend(check(&entry, &mut found.notes)?);
        }
        if checks.len() > 16 {
            return Err(field(path, "has more than 16 checks"));
        }
        found.checks.insert(process, checks);
    }
    Ok(found)
}

/// Notes keys that look like a misspelling of a known key.
fn misspelt(path: &str, object: &Map<String, Value>, known: &[&str], notes: &mut Vec<String>) {
    let key = |name: &str| {
        let name: String = name.chars().filter(|c| !"-_ .".contains(*c)).collect();
        let name = name.to_lowercase();
        name.strip_suffix('s').unwrap_or(&name).to_owned()
    };
    for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
        if let Some(meant) = known.iter().find(|known| key(known) == key(name)) {
            let at = if path.is_empty() {
                String::new()
            } else {
                format!("{path}.")
            };
            notes.push(format!(
                "app.json, {at}{}: is not read; it is called {meant}",
                shown(name)
            ));
        }
    }
}

/// Entries by process: the name in the cluster, the name as written, and the value.
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
                    "app.json, {key}.{}: is left out: the name {why}",
                    shown(written)
                ));
                continue;
            }
        };
        if let Some((_, before, _)) = found.iter().find(|(other, ..)| *other == name) {
            return Err(field(
                format!("{key}.{}", shown(written)),
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

/// Known keys of a check.
const CHECK: [&str; 16] = [
    "type",
    "name",
    "attempts",
    "wait",
    "timeout",
    "initialDelay",
    "path",
    "port",
    "scheme",
    "content",
    "httpHeaders",
    "command",
    "listening",
    "uptime",
    "warn",
    "onFailure",
];

/// An entry of `healthchecks`.
struct Entry<'a> {
    /// Its path, for example `healthchecks.web[0]`.
    path: String,
    fields: &'a Map<String, Value>,
}

impl<'a> Entry<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: impl Into<String>) -> AppJsonError {
        field(format!("{}.{name}", self.path), what)
    }

    /// A text of at most `most` characters; `None` if it is empty.
    fn text(&self, name: &str, most: usize) -> Result<Option<String>, AppJsonError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .ok_or_else(|| self.wrong(name, "has to be a text in quotes: \"…\""))?;
        if text.chars().count() > most {
            return Err(self.wrong(name, format!("has at most {most} characters")));
        }
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// A number of at most `most`. 0 and less mean the default, as in Dokku.
    fn number(&self, name: &str, most: i32) -> Result<Option<i32>, AppJsonError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_i64()
            .ok_or_else(|| self.wrong(name, whole_number(value, most)))?;
        match i32::try_from(number) {
            _ if number <= 0 => Ok(None),
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(self.wrong(name, format!("is at most {most}"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, AppJsonError> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(name, "has to be true or false, without quotes")),
        }
    }

    fn list(&self, name: &str, cure: &str) -> Result<&'a [Value], AppJsonError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(values)) => Ok(values),
            Some(_) => Err(self.wrong(name, cure)),
        }
    }

    fn command(&self) -> Result<Vec<String>, AppJsonError> {
        const CURE: &str = r#"has to be a list of texts: ["curl", "-f", "http://localhost:5000/"]"#;
        let words = self.list("command", CURE)?;
        if words.len() > 64 {
            return Err(self.wrong("command", "has at most 64 words: put them into a script"));
        }
        let word = |(index, word): (usize, &Value)| {
            let name = format!("command[{index}]");
            let word = word
                .as_str()
                .ok_or_else(|| self.wrong(&name, "has to be a text in quotes: \"…\""))?;
            if word.chars().count() > 4096 {
                return Err(self.wrong(&name, "has at most 4096 characters: put it into a script"));
            }
            Ok(word.to_owned())
        };
        words.iter().enumerate().map(word).collect()
    }

    fn headers(&self) -> Result<Vec<HttpHeader>, AppJsonError> {
        const NAME: &str = "httpHeaders";
        const CURE: &str = r#"has to be a list: [{"name": "…", "value": "…"}]"#;
        let headers = self.list(NAME, CURE)?;
        if headers.len() > 16 {
            return Err(self.wrong(NAME, "has at most 16 headers"));
        }
        let header = |(index, header): (usize, &Value)| {
            let text = |key: &str| header.get(key).and_then(Value::as_str);
            let at = format!("{NAME}[{index}]");
            let (Some(name), Some(value)) = (text("name"), text("value")) else {
                let cure = r#"has to be an object of two texts: {"name": "…", "value": "…"}"#;
                return Err(self.wrong(&at, cure));
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            if name.is_empty() || name.len() > 256 || !name.chars().all(plain) {
                let what = "has only letters, digits and hyphens, 256 at most";
                return Err(self.wrong(&format!("{at}.name"), what));
            }
            if value.contains(['\r', '\n']) || value.chars().count() > 4096 {
                let what = "is one line of at most 4096 characters";
                return Err(self.wrong(&format!("{at}.value"), what));
            }
            Ok(HttpHeader {
                name: name.to_owned(),
                value: value.to_owned(),
            })
        };
        headers.iter().enumerate().map(header).collect()
    }

    fn path(&self) -> Result<Option<String>, AppJsonError> {
        let path = self.text("path", 1024)?;
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(self.wrong("path", "has to begin with '/'"));
        }
        Ok(path)
    }

    fn scheme(&self) -> Result<Option<Scheme>, AppJsonError> {
        match self.text("scheme", 1024)?.as_deref() {
            None => Ok(None),
            Some("http") => Ok(Some(Scheme::Http)),
            Some("https") => Ok(Some(Scheme::Https)),
            Some(_) => Err(self.wrong("scheme", "has to be either http or https")),
        }
    }
}

/// The message for a value that is no whole number, with the number that its author probably meant.
fn whole_number(value: &Value, most: i32) -> String {
    let meant = value
        .as_str()
        .and_then(|text| text.trim().trim_end_matches('s').parse::<i32>().ok());
    match meant {
        Some(meant) => format!("has to be a whole number without quotes: {meant}"),
        None => format!("has to be a whole number, without quotes, of at most {most}"),
    }
}

/// One entry of `healthchecks`; `None` if it cannot run.
fn check(entry: &Entry<'_>, notes: &mut Vec<String>) -> Result<Option<Check>, AppJsonError> {
    let path = &entry.path;
    misspelt(path, entry.fields, &CHECK, notes);
    let mut leave_out = |why: String| {
        notes.push(format!("app.json, {path}: {why}"));
        Ok(None)
    };
    let r#type = match entry.text("type", 1024)?.as_deref() {
        Some("startup") => CheckType::Startup,
        Some("readiness") => CheckType::Readiness,
        Some("liveness") => CheckType::Liveness,
        None => {
            return leave_out(
                "has no type (startup, readiness or liveness), so it does not run".into(),
            );
        }
        Some(other) => {
            return leave_out(format!(
                "type {:?} is none of startup, readiness and liveness, so it does not run",
                shown(other)
            ));
        }
    };
    if entry.flag("warn")? {
        return leave_out(
            "has warn, so it could not fail a deploy, and it does not run".to_owned(),
        );
    }
    let uptime = entry.number("uptime", 3600)?;
    if uptime.is_some() && r#type != CheckType::Startup {
        return leave_out("uptime is a startup check, so it does not run".to_owned());
    }
    let check = Check {
        r#type,
        name: entry
            .text("name", usize::MAX)?
            .map(|name| name.chars().take(64).collect()),
        path: entry.path()?,
        content: entry.text("content", 1024)?,
        http_headers: entry.headers()?,
        scheme: entry.scheme()?,
        command: entry.command()?,
        listening: entry.flag("listening")?.then_some(true),
        uptime,
        port: entry.number("port", 65535)?,
        attempts: entry.number("attempts", 1000)?,
        wait: entry.number("wait", 3600)?,
        timeout: entry.number("timeout", 3600)?,
        initial_delay: entry.number("initialDelay", 3600)?,
    };
    let request = check.path.is_some()
        || check.content.is_some()
        || !check.http_headers.is_empty()
        || check.scheme.is_some();
    let kinds = [
        ("path", request),
        ("command", !check.command.is_empty()),
        ("listening", check.listening.is_some()),
        ("uptime", check.uptime.is_some()),
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
    if entry.get("onFailure").is_some_and(is_something) {
        notes.push(format!(
            "app.json, {path}: its onFailure is not carried out; the check itself runs"
        ));
    }
    Ok(Some(check))
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
            key in proptest::sample::select(super::CHECK.to_vec()),
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
}
