//! Chooses a release from an npm registry's document about a package and a version range. If none fits, the error says
//! which releases there are.

use nodejs_semver::{Range, Version};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

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

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.range)?;
        self.for_node
            .map_or(Ok(()), |node| write!(f, " and runs on Node.js {node}"))
    }
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
    let document: Document =
        serde_json::from_slice(document).map_err(|source| Error::Document {
            package: package.to_owned(),
            source,
        })?;
    let preferred = wanted.prefer.map(ranged).transpose()?;
    let node = wanted.for_node.map(parsed).transpose()?;
    let all = candidates(document, node.as_ref());
    let told: Vec<Version> = all.iter().map(|one| one.version.clone()).collect();
    let allowed = ranged(wanted.range).map_err(|_| Error::Wanted {
        range: wanted.range.to_owned(),
        to_be_had: to_be_had(&told, wanted.range),
    })?;
    let chosen = best(all, &allowed, preferred.as_ref()).ok_or_else(|| Error::None {
        package: package.to_owned(),
        wanted: wanted.to_string(),
        to_be_had: to_be_had(&told, wanted.range),
    })?;
    release(package, chosen, registry)
}

/// The document's releases that run on this Node.js, the newest first. Versions that npm cannot read are left out.
fn candidates(document: Document, node: Option<&Version>) -> Vec<Candidate> {
    let versions = document.versions.into_iter();
    let mut all: Vec<Candidate> = versions
        .filter_map(|(version, entry)| {
            Some(Candidate {
                version: Version::parse(&version).ok()?,
                entry,
            })
        })
        .filter(|candidate| node.is_none_or(|node| takes(&candidate.entry, node)))
        .collect();
    all.sort_by(|a, b| b.version.cmp(&a.version));
    all
}

/// Order of preference: in the preferred range, then not deprecated, then newest.
fn best(
    newest_first: Vec<Candidate>,
    allowed: &Range,
    preferred: Option<&Range>,
) -> Option<Candidate> {
    newest_first
        .into_iter()
        .filter(|candidate| candidate.version.satisfies(allowed))
        .min_by_key(|candidate| {
            let liked = preferred.is_none_or(|range| candidate.version.satisfies(range));
            (!liked, deprecated(&candidate.entry))
        })
}

/// The chosen release with the address that it is downloaded from.
fn release(package: &str, chosen: Candidate, registry: &str) -> Result<Release, Error> {
    let Candidate { version, entry } = chosen;
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
mod tests;
