//! One entry of `healthchecks`.

use serde_json::{Map, Value};
use slipway_crds::v1alpha1::{Check, CheckType, HttpHeader, Scheme};

use crate::domain::app_json::{
    error::{AppJsonError, field},
    is_something,
    text::{misspelt, shown},
};

/// Known keys of a check.
pub(super) const CHECK: [&str; 16] = [
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
pub(super) struct Entry<'a> {
    /// Its path, for example `healthchecks.web[0]`.
    pub(super) path: String,
    pub(super) fields: &'a Map<String, Value>,
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
pub(super) fn check(
    entry: &Entry<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<Check>, AppJsonError> {
    let path = &entry.path;
    misspelt(path, entry.fields, &CHECK, notes);
    let mut leave_out = |why: String| {
        notes.push(format!("app.json, {path}: {why}"));
        Ok(None)
    };
    let r#type = match type_of(entry.text("type", 1024)?.as_deref()) {
        Ok(r#type) => r#type,
        Err(why) => return leave_out(why),
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
    tests_one_thing(path, &check)?;
    if entry.get("onFailure").is_some_and(is_something) {
        notes.push(format!(
            "app.json, {path}: its onFailure is not carried out; the check itself runs"
        ));
    }
    Ok(Some(check))
}

/// The type of a check, or why it has none.
fn type_of(written: Option<&str>) -> Result<CheckType, String> {
    match written {
        Some("startup") => Ok(CheckType::Startup),
        Some("readiness") => Ok(CheckType::Readiness),
        Some("liveness") => Ok(CheckType::Liveness),
        None => Err("has no type (startup, readiness or liveness), so it does not run".to_owned()),
        Some(other) => Err(format!(
            "type {:?} is none of startup, readiness and liveness, so it does not run",
            shown(other)
        )),
    }
}

/// Refuses a check that would test several things.
fn tests_one_thing(path: &str, check: &Check) -> Result<(), AppJsonError> {
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
    Ok(())
}
