//! Desired object, live object → the first field in which they differ. Pure.
//!
//! The desired object has only our fields; the live one also has those of others and the server's defaults. So the
//! desired object has to be a part of the live one. Maps are compared by key, selectors whole, lists that the server
//! merges by their merge key, other lists whole, and numbers that the server rewrites by value.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use slipway_crds::v1alpha1::Quantity;

/// Path of the first field of `desired` that `live` lacks or has with another value.
pub fn first_difference(desired: &Value, live: &Value) -> Option<String> {
    let (Value::Object(desired), Value::Object(live)) = (desired, live) else {
        return Some(".".to_owned());
    };
    desired
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "status"))
        .find_map(|(key, wanted)| field("", key, wanted, live.get(key)))
}

/// Hash of an object. It does not depend on the order of keys.
pub fn hash(object: &Value) -> String {
    let mut text = String::new();
    canonical(object, &mut text);
    let mut hash = hex::encode(Sha256::digest(text));
    hash.truncate(32);
    hash
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            text.push('{');
            for (key, value) in keys {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// Maps that the server leaves out when they are empty. Other empty objects have a meaning, such as `emptyDir: {}`.
const MAPS: [&str; 9] = [
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "selector",
];

/// Maps that are compared whole: a selector with one more key selects other pods, or none.
const ATOMIC: [&str; 2] = ["labelSelector", "selector"];

fn field(path: &str, key: &str, wanted: &Value, live: Option<&Value>) -> Option<String> {
    let here = || format!("{path}.{key}");
    match (wanted, live) {
        (Value::Null, _) => None,
        (Value::Array(items), None | Some(Value::Null)) => (!items.is_empty()).then(here),
        (Value::Object(map), None | Some(Value::Null)) => {
            (!map.is_empty() || !MAPS.contains(&key)).then(here)
        }
        (_, None) => Some(here()),
        (wanted, Some(live)) if ATOMIC.contains(&key) => (wanted != live).then(here),
        (Value::Object(wanted), Some(Value::Object(live))) => object(&here(), wanted, live),
        (Value::Array(wanted), Some(Value::Array(live))) => list(&here(), key, wanted, live),
        (wanted, Some(live)) => {
            let quantity = is_quantity(path, key);
            (!same(wanted, live, quantity)).then(here)
        }
    }
}

fn object(path: &str, wanted: &Map<String, Value>, live: &Map<String, Value>) -> Option<String> {
    wanted
        .iter()
        .find_map(|(key, wanted)| field(path, key, wanted, live.get(key)))
}

fn list(path: &str, key: &str, wanted: &[Value], live: &[Value]) -> Option<String> {
    if key == "finalizers" {
        return wanted
            .iter()
            .any(|item| !live.contains(item))
            .then(|| path.to_owned());
    }
    if let Some(merge) = merge_keys(key, wanted) {
        return wanted.iter().find_map(|item| {
            let name = item.get(merge.first()?)?;
            let place = format!("{path}[{name}]");
            let twin = live
                .iter()
                .find(|live| merge.iter().all(|key| matches_key(item, live, key)));
            match (item, twin) {
                (Value::Object(item), Some(Value::Object(twin))) => object(&place, item, twin),
                _ => Some(place),
            }
        });
    }
    if wanted.len() != live.len() {
        return Some(path.to_owned());
    }
    wanted
        .iter()
        .zip(live)
        .enumerate()
        .find_map(|(index, (wanted, live))| {
            let place = format!("{path}[{index}]");
            match (wanted, live) {
                (Value::Object(wanted), Value::Object(live)) => object(&place, wanted, live),
                (wanted, live) => (!same(wanted, live, false)).then_some(place),
            }
        })
}

/// Whether both have the same value. If the wanted item leaves the key out, the live one has the server's default,
/// `TCP`.
fn matches_key(wanted: &Value, live: &Value, key: &str) -> bool {
    match wanted.get(key) {
        Some(value) => live.get(key) == Some(value),
        None => live.get(key).is_none_or(|value| value == "TCP"),
    }
}

/// The keys by which the server merges this list; `None` for a list that it replaces whole.
fn merge_keys(field: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let keys: &'static [&'static str] = match field {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "packs"
        | "storage" => &["name"],
        "ports" if items.iter().all(|item| item.get("containerPort").is_some()) => {
            &["containerPort", "protocol"]
        }
        "ports" => &["port", "protocol"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "conditions" => &["type"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "hostAliases" => &["ip"],
        _ => return None,
    };
    let first = keys.first()?;
    items
        .iter()
        .all(|item| item.get(first).is_some())
        .then_some(keys)
}

fn is_quantity(path: &str, key: &str) -> bool {
    let parent = path.rsplit('.').next().unwrap_or_default();
    matches!(parent, "limits" | "requests" | "capacity" | "hard")
        || matches!(key, "sizeLimit" | "divisor")
}

fn same(wanted: &Value, live: &Value, quantity: bool) -> bool {
    if wanted == live {
        return true;
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (Some(wanted), Some(live)) = (text(wanted), text(live)) else {
        return false;
    };
    if quantity {
        let nanos = Quantity(wanted).nanos();
        return nanos.is_some() && nanos == Quantity(live).nanos();
    }
    wanted == live
}

#[cfg(test)]
mod tests;
