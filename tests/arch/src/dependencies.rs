//! `cargo metadata` and `deny.toml` → what breaks a rule. Pure.
//!
//! `deny.toml` is written for cargo-deny; what is read of it here are its bans, its licences and its registries, so
//! that the gate needs no tool that has to be built first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// What is read of `deny.toml`.
#[derive(Debug, Deserialize)]
pub struct Rules {
    /// Licences.
    pub licenses: Licenses,
    /// Packages.
    pub bans: Bans,
    /// Where packages are from.
    pub sources: Sources,
}

/// Where packages are from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sources {
    /// Registries that are allowed; nothing else is.
    pub allow_registry: BTreeSet<String>,
}

/// Licences.
#[derive(Debug, Deserialize)]
pub struct Licenses {
    /// SPDX identifiers that are allowed.
    pub allow: BTreeSet<String>,
}

/// Packages.
#[derive(Debug, Deserialize)]
pub struct Bans {
    /// Packages that must not be in the tree, or only once.
    pub deny: Vec<Ban>,
}

/// One rule about one package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ban {
    /// Its name.
    pub name: String,
    /// Whether it may be there, in one version.
    #[serde(default)]
    pub deny_multiple_versions: bool,
    /// Why.
    pub reason: String,
}

/// What is read of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Every package.
    pub packages: Vec<Package>,
}

/// A package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression.
    pub license: Option<String>,
    /// Where it is from; none: this workspace.
    pub source: Option<String>,
}

/// Every breach, in words.
pub fn breaches(rules: &Rules, metadata: &Metadata) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    let mut found = Vec::new();
    for ban in &rules.bans.deny {
        let there = versions.get(ban.name.as_str()).map_or(0, BTreeSet::len);
        if there > usize::from(ban.deny_multiple_versions) {
            found.push(format!(
                "{} is in the tree {there} times: {}",
                ban.name, ban.reason
            ));
        }
    }
    for package in &metadata.packages {
        let Some(source) = &package.source else {
            continue;
        };
        let registry = source.strip_prefix("registry+");
        if registry.is_none_or(|registry| !rules.sources.allow_registry.contains(registry)) {
            found.push(format!(
                "{} {}: {source} is no registry that is allowed",
                package.name, package.version
            ));
        }
        let license = package.license.as_deref().unwrap_or("none");
        if !allowed(license, &rules.licenses.allow) {
            found.push(format!(
                "{} {}: licence {license} is not allowed",
                package.name, package.version
            ));
        }
    }
    found
}

/// Whether an SPDX expression can be met with the licences in `allow`. `A/B` is the old way to write `A OR B`.
pub fn allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest, allow) && rest.is_empty()
}

fn any(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut met = all(rest, allow);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        met |= all(rest, allow);
    }
    met
}

fn all(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    let mut met = one(rest, allow);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        met &= one(rest, allow);
    }
    met
}

fn one(rest: &mut &[&str], allow: &BTreeSet<String>) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let met = any(rest, allow);
            let closed = matches!(rest, [")", ..]);
            if let [")", after @ ..] = *rest {
                *rest = after;
            }
            met && closed
        }
        [name, "WITH", exception, after @ ..] => {
            *rest = after;
            allow.contains(&format!("{name} WITH {exception}")) || allow.contains(*name)
        }
        [name, after @ ..] => {
            *rest = after;
            allow.contains(*name)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ban, Bans, Licenses, Metadata, Package, Rules, Sources, allowed, breaches};

    #[test]
    fn expressions_are_read() {
        let allow = ["MIT".to_owned(), "Apache-2.0".to_owned()].into();
        for (expression, met) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("MIT/Apache-2.0", true),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(GPL-3.0 OR LGPL-3.0) AND Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("", false),
        ] {
            assert_eq!(allowed(expression, &allow), met, "{expression}");
        }
    }

    #[test]
    fn a_second_version_a_ban_a_licence_and_another_source_are_breaches() {
        let package = |name: &str, version: &str, license: &str| Package {
            name: name.into(),
            version: version.into(),
            license: Some(license.into()),
            source: Some("registry+https://registry.example".into()),
        };
        let from = |source: &str| Package {
            source: Some(source.into()),
            ..package("serde", "1.0.0", "MIT")
        };
        let ban = |name: &str, deny_multiple_versions| Ban {
            name: name.into(),
            deny_multiple_versions,
            reason: "because".into(),
        };
        let rules = Rules {
            licenses: Licenses {
                allow: ["MIT".to_owned()].into(),
            },
            bans: Bans {
                deny: vec![ban("kube", true), ban("aws-lc-rs", false)],
            },
            sources: Sources {
                allow_registry: ["https://registry.example".to_owned()].into(),
            },
        };
        let metadata = Metadata {
            packages: vec![
                package("kube", "1.0.0", "MIT"),
                package("kube", "2.0.0", "MIT"),
                package("aws-lc-rs", "1.0.0", "GPL-3.0"),
                from("git+https://registry.example/serde"),
                from("registry+https://other.example"),
            ],
        };
        let found = breaches(&rules, &metadata);
        for (breach, wanted) in found.iter().zip([
            "kube is in the tree 2 times",
            "aws-lc-rs is in the tree 1 times",
            "aws-lc-rs 1.0.0: licence GPL-3.0",
            "serde 1.0.0: git+https://registry.example/serde is no registry",
            "serde 1.0.0: registry+https://other.example is no registry",
        ]) {
            assert!(breach.starts_with(wanted), "{breach}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
    }
}
