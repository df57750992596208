//! The file as text: what is no JSON, and what is written so that it may not be what its author meant.

use std::{collections::BTreeSet, fmt::Write as _};

use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::{Map, Value};

use crate::domain::app_json::error::{AppJsonError, field};

/// Most duplicate keys of a file that are noted.
const NOTES: usize = 8;

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
pub(super) fn root(text: &str) -> Result<Map<String, Value>, AppJsonError> {
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
pub(super) fn twice(text: &str) -> Vec<String> {
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
pub(super) fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Notes keys that look like a misspelling of a known key.
pub(super) fn misspelt(
    path: &str,
    object: &Map<String, Value>,
    known: &[&str],
    notes: &mut Vec<String>,
) {
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
