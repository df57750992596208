//! Reads one value, or a list of values, from a JSON file.

use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not valid JSON: {source}", .path.display())]
    Syntax {
        path: PathBuf,
        source: serde_json::Error,
    },
}

pub fn file(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    // Editors on Windows put a byte order mark at the start.
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|source| Error::Syntax {
        path: path.to_owned(),
        source,
    })
}

/// The value at `keys` as text: a string as it is, `true`, `5`, or a list with one item a line. `None` if there is no
/// value, or if it is an object or a list with an item that is not a scalar.
pub fn text(value: &Value, keys: &[String]) -> Option<String> {
    match keys.iter().try_fold(value, |value, key| value.get(key))? {
        Value::Array(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map(|lines| lines.join("\n")),
        found => scalar(found),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("package.json");
        std::fs::write(
            &path,
            "\u{feff}{\"engines\":{\"node\":\"22.x\"},\"private\":true,\"a.b\":5,\"list\":[\"a b\",1],\"deep\":[[]]}",
        )
        .unwrap();
        let value = file(&path).unwrap();
        let get = |keys: &[&str]| {
            text(
                &value,
                &keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(get(&["engines", "node"]).as_deref(), Some("22.x"));
        assert_eq!(get(&["private"]).as_deref(), Some("true"));
        assert_eq!(get(&["a.b"]).as_deref(), Some("5"));
        assert_eq!(get(&["list"]).as_deref(), Some("a b\n1"));
        assert_eq!(get(&["deep"]), None);
        assert_eq!(get(&["engines"]), None);
        assert_eq!(get(&["private", "x"]), None);
        std::fs::write(&path, "{\n  \"a\": 1,\n}").unwrap();
        let error = file(&path).unwrap_err().to_string();
        assert!(
            error.contains("package.json is not valid JSON: trailing comma at line 3 column 1"),
            "{error}"
        );
    }
}
