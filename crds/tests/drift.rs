//! The committed YAML is what the types say. `UPDATE=1` overwrites it.
#![allow(missing_docs, reason = "a test")]

use std::{collections::BTreeMap, fs, path::Path};

use kube::CustomResourceExt as _;
use serde_json::{Value, json};
use slipway_crds::v1alpha1;

#[test]
fn the_yaml_is_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml");
    for crd in slipway_crds::all() {
        let file = folder.join(format!("{}.yaml", crd.spec.names.plural));
        let wanted = serde_yaml::to_string(&crd).expect("a CRD is plain data");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &wanted).expect("the folder can be written");
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            found,
            wanted,
            "{} is out of date: run `make generate`",
            file.display()
        );
    }
}

/// An object whose observedGeneration is another than its own is unfinished to kstatus: whoever waits for it waits until
/// some controller writes it.
#[test]
fn a_status_has_the_default_where_a_controller_speaks_of_it_and_nowhere_else() {
    let defaults: BTreeMap<String, Value> = slipway_crds::all()
        .into_iter()
        .map(|crd| {
            let version = &serde_json::to_value(&crd.spec.versions[0]).expect("plain data");
            let status = &version["schema"]["openAPIV3Schema"]["properties"]["status"];
            (crd.spec.names.kind, status["default"].clone())
        })
        .collect();
    let unseen = json!({"observedGeneration": -1});
    assert_eq!(
        json!(defaults),
        json!({"App": unseen, "Build": unseen, "Release": unseen, "Revision": null, "Stack": null})
    );
}

/// The text of a field wins over the text of its type, and tells all that `kubectl explain` does not show by itself.
#[test]
fn an_optional_choice_tells_its_values_and_its_default() {
    fn walk(path: &str, schema: &Value, found: &mut BTreeMap<String, String>) {
        if let (Some(values), Some(true)) =
            (schema["enum"].as_array(), schema["nullable"].as_bool())
        {
            let text = schema["description"].as_str().unwrap_or_default();
            for value in values.iter().filter_map(Value::as_str) {
                assert!(
                    text.contains(&format!("`{value}`")),
                    "{path}: {value} is not in {text:?}"
                );
            }
            found.insert(path.to_owned(), text.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), property, found);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                walk(path, inner, found);
            }
        }
    }
    let crd = serde_json::to_value(v1alpha1::App::crd()).expect("plain data");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = BTreeMap::new();
    walk("", schema, &mut found);
    let defaults = [
        (".spec.checks.scheme", "Default: `http`."),
        (".spec.podSecurity", "Default: `Restricted`."),
        (
            ".spec.storage.claimTemplate.accessMode",
            "Default: `ReadWriteOnce`.",
        ),
        (
            ".spec.storage.claimTemplate.reclaimPolicy",
            "Default: `Retain`.",
        ),
    ];
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        defaults.map(|(path, _)| path)
    );
    for (path, default) in defaults {
        assert!(found[path].ends_with(default), "{path}: {}", found[path]);
    }
}

#[test]
fn every_field_has_a_description_and_no_unsigned_format() {
    fn walk(path: &str, schema: &Value, wrong: &mut Vec<String>) {
        if let Some(format) = schema.get("format").and_then(|f| f.as_str())
            && format.starts_with("uint")
        {
            wrong.push(format!("{path}: format {format}"));
        }
        for (name, property) in schema
            .get("properties")
            .and_then(|p| p.as_object())
            .into_iter()
            .flatten()
        {
            let path = format!("{path}.{name}");
            if property.get("description").is_none()
                && !path.contains(".conditions")
                && !path.ends_with(".metadata")
            {
                wrong.push(format!("{path}: no description"));
            }
            walk(&path, property, wrong);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                walk(&format!("{path}[]"), inner, wrong);
            }
        }
    }
    let mut wrong = Vec::new();
    for crd in slipway_crds::all() {
        for version in &crd.spec.versions {
            let schema = version
                .schema
                .as_ref()
                .and_then(|s| s.open_api_v3_schema.as_ref())
                .expect("a schema");
            let schema = serde_json::to_value(schema).expect("plain data");
            for part in ["spec", "status"] {
                let path = format!("{}.{part}", crd.spec.names.kind);
                walk(&path, &schema["properties"][part], &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
