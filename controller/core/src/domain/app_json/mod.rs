//! The text of a repository's app.json → the parts that Slipway uses: buildpacks, formation and health checks. Pure.
//!
//! The file is JSON with comments and trailing commas. Other keys are ignored; if a user may rely on such a key, a note
//! says that it has no effect.

mod check;
mod error;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use slipway_base::files::procfile;
use slipway_crds::v1alpha1::Check;

pub use crate::domain::app_json::error::AppJsonError;
use crate::domain::app_json::{
    check::{Entry, check},
    error::field,
    text::{misspelt, root, shown, twice},
};

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
    found.formation = formation(&root, &mut found.notes)?;
    found.checks = healthchecks(&root, &mut found.notes)?;
    Ok(found)
}

/// `formation`: how many of each process.
fn formation(
    root: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, i32>, AppJsonError> {
    let mut found = BTreeMap::new();
    for (process, written, entry) in processes(root, "formation", notes)? {
        let path = format!("formation.{}", shown(written));
        let Some(entry) = entry.as_object() else {
            if !entry.is_null() {
                notes.push(format!(
                    "app.json, {path}: is left out: it has to be an object: {{\"quantity\": 1}}"
                ));
            }
            continue;
        };
        misspelt(&path, entry, &["quantity"], notes);
        if entry.get("size").is_some_and(is_something) {
            notes.push(format!(
                "app.json, {path}.size: means nothing here: set spec.processes.{process}.resources"
            ));
        }
        if let Some(quantity) = entry.get("quantity").filter(|q| !q.is_null()) {
            let quantity = quantity.as_i64().and_then(|q| i32::try_from(q).ok());
            let Some(quantity) = quantity.filter(|q| (0..=1000).contains(q)) else {
                return Err(field(
                    format!("{path}.quantity"),
                    "has to be a whole number between 0 and 1000, without quotes",
                ));
            };
            found.insert(process, quantity);
        }
    }
    Ok(found)
}

/// `healthchecks`: the checks of each process.
fn healthchecks(
    root: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Vec<Check>>, AppJsonError> {
    let mut found = BTreeMap::new();
    for (process, written, entries) in processes(root, "healthchecks", notes)? {
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
            checks.extend(check(&entry, notes)?);
        }
        if checks.len() > 16 {
            return Err(field(path, "has more than 16 checks"));
        }
        found.insert(process, checks);
    }
    Ok(found)
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
