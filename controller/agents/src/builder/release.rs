//! What `bin/release` and `bin/report` print → plain data. Pure.

use std::collections::BTreeMap;

use serde_yaml::Value;

/// Most entries of a buildpack's report, and most characters of each.
const REPORT_ENTRIES: usize = 64;
const REPORT_CHARACTERS: usize = 1024;
/// Most bytes that are read of `bin/release`'s output, and of `bin/report`'s.
const MAX: usize = 256 * 1024;

/// What the last buildpack says about running the app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// `default_process_types`.
    pub(super) processes: BTreeMap<String, String>,
    /// `config_vars`.
    pub(super) config_vars: BTreeMap<String, String>,
}

/// Reads release YAML. Empty text, `---`, `--- {}` and keys without a value are legal; unknown keys are ignored.
pub(super) fn parse(text: &[u8]) -> Result<Released, String> {
    if text.len() > MAX {
        return Err(format!("it is larger than {MAX} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(Released::default());
    }
    let value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let map = match value {
        Value::Null => return Ok(Released::default()),
        Value::Mapping(map) => map,
        _ => return Err("it is no map".to_owned()),
    };
    let section = |name: &str| -> Result<BTreeMap<String, String>, String> {
        match map.get(name) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Mapping(section)) => section
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| match (scalar(key), scalar(value)) {
                    (Some(key), Some(value)) => Ok((key, value)),
                    _ => Err(format!("{name} has an entry that is no plain value")),
                })
                .collect(),
            Some(_) => Err(format!("{name} is no map")),
        }
    };
    Ok(Released {
        processes: section("default_process_types")?,
        config_vars: section("config_vars")?,
    })
}

/// Reads a buildpack's report, a flat JSON or YAML map. Everything else is left out: a report cannot fail a build.
pub(super) fn flat_map(text: &[u8]) -> BTreeMap<String, String> {
    if text.len() > MAX {
        return BTreeMap::new();
    }
    let Ok(Value::Mapping(map)) = serde_yaml::from_slice(text) else {
        return BTreeMap::new();
    };
    let short = |text: String| text.chars().take(REPORT_CHARACTERS).collect::<String>();
    map.iter()
        .filter_map(|(key, value)| Some((short(scalar(key)?), short(scalar(value)?))))
        .take(REPORT_ENTRIES)
        .collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

#[cfg(test)]
mod tests;
