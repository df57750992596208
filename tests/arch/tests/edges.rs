//! Which module of the controller imports which: `edges.txt`.

use std::{collections::BTreeSet, fs};

use slipway_arch::imports::{Source, sources};

use crate::root;

/// `controllers` is read one level deeper: one controller may not know another.
fn module(parts: &[&str]) -> String {
    match parts {
        ["controllers", inner, ..] => format!("controllers::{inner}"),
        [first, ..] => (*first).to_owned(),
        [] => "lib".to_owned(),
    }
}

fn module_of(file: &str) -> String {
    let file = file.trim_end_matches(".rs").trim_end_matches("/mod");
    module(&file.split('/').collect::<Vec<_>>())
}

/// Every edge between two modules, `from -> to`.
fn edges(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // `controllers::X` names a controller only where X is a folder or file of its own.
    let known: BTreeSet<String> = sources.iter().map(|s| module_of(&s.file)).collect();
    for source in sources {
        let from = module_of(&source.file);
        for named in &source.named {
            let parts: Vec<&str> = named.parts.iter().map(String::as_str).collect();
            let to = match parts.as_slice() {
                ["crate" | "slipway", rest @ ..] if !rest.is_empty() => module(rest),
                _ => continue,
            };
            let to = if known.contains(&to) {
                to
            } else {
                to.split("::").next().unwrap_or_default().to_owned()
            };
            if to != from && from != "lib" && !from.starts_with("bin") {
                found.insert(format!("{from} -> {to}"));
            }
        }
    }
    found
}

#[test]
fn modules_import_what_edges_txt_allows() {
    let sources = sources(&root().join("controller/src")).expect("the source can be read");
    let found: String = edges(&sources).into_iter().map(|e| e + "\n").collect();
    let file = root().join("tests/arch/edges.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &found).expect("edges.txt can be written");
    }
    let allowed = fs::read_to_string(&file).unwrap_or_default();
    let new: Vec<&str> = found
        .lines()
        .filter(|e| !allowed.lines().any(|a| a == *e))
        .collect();
    let gone: Vec<&str> = allowed
        .lines()
        .filter(|a| !found.lines().any(|e| e == *a))
        .collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "module edges changed; where they should, run `UPDATE=1 cargo test -p slipway-arch`\nnew: {new:#?}\ngone: {gone:#?}"
    );
}

#[test]
fn imports_are_by_crate_and_not_by_super() {
    let sources = sources(&root().join("controller/src")).expect("the source can be read");
    let found: Vec<&str> = sources
        .iter()
        .filter(|s| {
            s.named
                .iter()
                .any(|n| n.parts.first().is_some_and(|p| p == "super"))
        })
        .map(|s| s.file.as_str())
        .collect();
    assert!(
        found.is_empty(),
        "write crate::… instead of super::… outside tests, so that edges can be read: {found:#?}"
    );
}
