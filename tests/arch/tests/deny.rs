//! What is in the dependency tree.

use std::{fs, process::Command};

use slipway_arch::dependencies::{Metadata, Rules, breaches};

use crate::root;

#[test]
fn the_dependency_tree_keeps_to_deny_toml() {
    let rules = fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    let rules: Rules = toml::from_str(&rules).expect("deny.toml can be read");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo's JSON");
    let found = breaches(&rules, &metadata);
    assert!(found.is_empty(), "{}", found.join("\n"));
}
