//! The committed YAML is what the types say. `UPDATE=1` overwrites it.
#![allow(missing_docs, reason = "a test")]

use std::{fs, path::Path};

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

#[test]
fn every_field_has_a_description_and_no_unsigned_format() {
    fn walk(path: &str, schema: &serde_json::Value, wrong: &mut Vec<String>) {
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
