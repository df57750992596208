//! Rust source → the paths that it names. Pure over text: files are read by [`sources`] only.
//!
//! Tests (`#[cfg(test)]`) are left out: they may look where they like.

use std::{fs, io, path::Path};

use syn::{
    Attribute, File, ItemMod, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// A path that a file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its parts: `crate`, `zone`, `input`.
    pub parts: Vec<String>,
}

/// One source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path below the crate's `src`, `build/plan.rs`.
    pub file: String,
    /// Every path outside tests, from `use` items, expressions, types, attributes' neighbours and macro calls.
    pub named: Vec<Named>,
}

/// All Rust files below `src`, in order.
pub fn sources(src: &Path) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(src).sort_by_file_name() {
        let entry = entry?;
        if entry.path().extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let file = entry
            .path()
            .strip_prefix(src)
            .unwrap_or(entry.path())
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(entry.path())?;
        let named = named(&text).map_err(|e| io::Error::other(format!("{file}: {e}")))?;
        found.push(Source { file, named });
    }
    Ok(found)
}

/// Every path that `text` names outside tests.
pub fn named(text: &str) -> syn::Result<Vec<Named>> {
    let file: File = syn::parse_str(text)?;
    let mut visitor = Visitor::default();
    visitor.visit_file(&file);
    visitor.found.sort();
    visitor.found.dedup();
    Ok(visitor.found)
}

#[derive(Default)]
struct Visitor {
    found: Vec<Named>,
}

impl Visitor {
    fn add(&mut self, parts: Vec<String>) {
        self.found.push(Named { parts });
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                let mut parts = before.to_vec();
                parts.push(path.ident.to_string());
                self.tree(&parts, &path.tree);
            }
            UseTree::Name(name) => {
                let mut parts = before.to_vec();
                if name.ident != "self" {
                    parts.push(name.ident.to_string());
                }
                self.add(parts);
            }
            UseTree::Rename(name) => {
                let mut parts = before.to_vec();
                if name.ident != "self" {
                    parts.push(name.ident.to_string());
                }
                self.add(parts);
            }
            UseTree::Glob(_) => self.add(before.to_vec()),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
        }
    }
}

impl<'a> Visit<'a> for Visitor {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1 {
            self.add(path.segments.iter().map(|s| s.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    // The arguments of a macro are tokens, not paths: they are read as text.
    fn visit_macro(&mut self, call: &'a Macro) {
        for parts in paths_in_tokens(&call.tokens.to_string()) {
            self.add(parts);
        }
        visit::visit_macro(self, call);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

/// `x (crate :: a :: b , 1)` → `[[crate, a, b]]`.
fn paths_in_tokens(tokens: &str) -> Vec<Vec<String>> {
    let spaced = tokens.replace("::", " :: ");
    let mut found = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    let mut joined = false;
    for word in spaced.split_whitespace() {
        if word == "::" {
            joined = true;
            continue;
        }
        let ident: String = word
            .chars()
            .skip_while(|c| !c.is_alphanumeric() && *c != '_')
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !joined && parts.len() > 1 {
            found.push(std::mem::take(&mut parts));
        }
        if !joined {
            parts.clear();
        }
        parts.push(ident);
        joined = false;
    }
    if parts.len() > 1 {
        found.push(parts);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::named;

    fn paths(text: &str) -> Vec<String> {
        named(text)
            .unwrap()
            .into_iter()
            .map(|n| n.parts.join("::"))
            .collect()
    }

    #[test]
    fn grouped_renamed_and_glob_imports_are_found() {
        assert_eq!(
            paths("use crate::{k8s::{self, apply as put}, zone::*};"),
            ["crate::k8s", "crate::k8s::apply", "crate::zone"]
        );
    }

    #[test]
    fn inline_paths_are_found_in_types_expressions_and_macros() {
        assert_eq!(
            paths("fn f(x: crate::a::B) { crate::c::d(); println!(\"{}\", crate::e::f()); }"),
            ["crate::a::B", "crate::c::d", "crate::e::f"]
        );
    }

    #[test]
    fn tests_may_look_where_they_like() {
        assert_eq!(
            paths("#[cfg(test)] mod tests { use super::x; } use crate::y;"),
            ["crate::y"]
        );
    }
}
