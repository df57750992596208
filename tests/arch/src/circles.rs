//! What files of a crate name → the circles among them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Source;

/// Which file of a crate names something of which others.
pub type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The module that a file is: `a/b.rs` and `a/b/mod.rs` are `[a, b]`, `lib.rs` is `[]`.
fn module(file: &str) -> Vec<&str> {
    let name = file.trim_end_matches(".rs");
    let parts = name.split('/').filter(|part| *part != "mod");
    parts.filter(|part| *part != "lib").collect()
}

/// The edges between the files of one crate. A path counts for the file of its longest beginning that is a module. What
/// a module takes from its own children does not count: it declares them, and they may use its types.
pub fn edges(sources: &[Source]) -> Edges<'_> {
    let files: BTreeMap<Vec<&str>, &str> = sources
        .iter()
        .map(|source| (module(&source.file), source.file.as_str()))
        .collect();
    let mut edges = Edges::new();
    for source in sources {
        let here = module(&source.file);
        for named in &source.named {
            let parts: Vec<&str> = named.parts.iter().map(String::as_str).collect();
            let ["crate", path @ ..] = parts.as_slice() else {
                continue;
            };
            let mut beginnings = (1..=path.len()).rev().filter_map(|n| path.get(..n));
            let target = beginnings.find_map(|beginning| Some((beginning, *files.get(beginning)?)));
            if let Some((_, file)) = target.filter(|(there, _)| !there.starts_with(&here)) {
                edges.entry(&source.file).or_default().insert(file);
            }
        }
    }
    edges
}

/// Every file from which its own names lead back to it, with those that it shares a circle with; sorted.
pub fn circles<'a>(edges: &Edges<'a>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached = |from: &'a str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = vec![from];
        while let Some(file) = next.pop() {
            for to in edges.get(file).into_iter().flatten().copied() {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|f| (*f, reached(f))).collect();
    let leads = |from: &str, to: &str| all.get(from).is_some_and(|seen| seen.contains(to));
    all.keys()
        .filter(|file| leads(file, file))
        .map(|file| {
            let others = all.keys().filter(|o| leads(file, o) && leads(o, file));
            others.copied().collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{circles, edges};
    use crate::imports::{Named, Source};

    fn source(file: &str, named: &[&str]) -> Source {
        let parts = |path: &&str| path.split("::").map(str::to_owned).collect();
        Source {
            file: file.to_owned(),
            named: named
                .iter()
                .map(|path| Named { parts: parts(path) })
                .collect(),
        }
    }

    #[test]
    fn files_that_name_each_other_are_a_circle() {
        let sources = [
            source("lib.rs", &[]),
            source("a/mod.rs", &["b::run", "crate::a::b::run", "std::fs"]),
            source("a/b.rs", &["crate::a::Step", "crate::c::Text"]),
            source("c.rs", &["crate::d::Word", "serde::Serialize"]),
            source("d.rs", &["crate::c::Text"]),
        ];
        let edges = edges(&sources);
        assert_eq!(edges.get("a/mod.rs"), None);
        assert_eq!(edges["a/b.rs"], ["a/mod.rs", "c.rs"].into());
        assert_eq!(circles(&edges), [["c.rs", "d.rs"].into()].into());
    }
}
