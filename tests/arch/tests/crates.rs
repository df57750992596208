//! What the crates below `controller/` may depend on, and what may lead in a circle within one: nothing.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use slipway_arch::{
    circles::{circles, edges},
    imports::sources,
};

use crate::root;

/// Crates that are kept small: each dependency is a decision.
const DEPENDENCIES: &[(&str, &[&str], &str)] = &[
    (
        "crds",
        &[
            "k8s-openapi",
            "kube",
            "schemars",
            "serde",
            "serde_json",
            "sha2",
        ],
        "command line, tests and other people's tools use the API types",
    ),
    (
        "controller/base",
        &["globset", "rustix", "serde", "thiserror"],
        "it is in every program, those in Apps' images among them",
    ),
    (
        "controller/core",
        &[
            "hex",
            "hmac",
            "jiff",
            "jsonc-parser",
            "k8s-openapi",
            "kube",
            "schemars",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "serde_yaml",
            "sha2",
            "slipway-base",
            "slipway-crds",
            "thiserror",
        ],
        "what is decided is tested by calling a function",
    ),
];

/// Packages that must not be reached from a crate, at any depth.
const NEVER: &[(&str, &[&str], &str)] = &[
    (
        "slipway-core",
        &["tokio", "hyper", "reqwest", "bollard", "tracing-subscriber"],
        "a decision neither waits nor asks",
    ),
    (
        "slipway-agents",
        &[
            "tokio",
            "hyper",
            "kube",
            "k8s-openapi",
            "slipway-crds",
            "bollard",
        ],
        "small static programs, without an async runtime and without Kubernetes",
    ),
    (
        "slipway-zones",
        &["kube-client", "bollard"],
        "a zone of a build has no access to the API server or the engine",
    ),
];

fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).expect("it is there");
    let manifest: toml::Table = toml::from_str(&text).expect("it can be read");
    let table = manifest.get("dependencies").and_then(toml::Value::as_table);
    table
        .expect("it has dependencies")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn small_crates_depend_on_what_is_listed() {
    for (folder, listed, why) in DEPENDENCIES {
        let found = dependencies(&root().join(folder).join("Cargo.toml"));
        assert_eq!(&found, listed, "{folder}: {why}");
    }
}

/// Every package that a build of `package` alone compiles for its programs, without tests and build scripts.
fn tree(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--edges=normal,no-proc-macro",
            "--prefix=none",
        ])
        .args(["--package", package])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).expect("names");
    let names = said.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn crates_stay_free_of_what_they_must_not_reach() {
    for (package, never, why) in NEVER {
        let tree = tree(package);
        assert!(tree.contains(*package), "{tree:?}");
        let found: Vec<&&str> = never.iter().filter(|name| tree.contains(**name)).collect();
        assert!(found.is_empty(), "{package} reaches {found:?}: {why}");
    }
}

/// The folders of every crate of the product.
fn crates() -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(root().join("controller")).expect("it is there");
    let folders = folders.map(|entry| entry.expect("it can be read").path());
    let mut crates: Vec<_> = folders.filter(|f| f.join("Cargo.toml").exists()).collect();
    crates.push(root().join("crds"));
    crates.sort();
    crates
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    for folder in crates() {
        let sources = sources(&folder.join("src")).expect("the source can be read");
        let circles = circles(&edges(&sources));
        assert!(circles.is_empty(), "{}: {circles:#?}", folder.display());
    }
}

#[test]
fn imports_are_by_crate_and_not_by_super() {
    for folder in crates() {
        let sources = sources(&folder.join("src")).expect("the source can be read");
        let by_super = sources.iter().filter(|source| {
            let mut first = source.named.iter().filter_map(|named| named.parts.first());
            first.any(|part| part == "super")
        });
        let found: Vec<&str> = by_super.map(|source| source.file.as_str()).collect();
        assert!(
            found.is_empty(),
            "write crate::… instead of super::… outside tests, so that edges can be read: {found:#?}"
        );
    }
}
