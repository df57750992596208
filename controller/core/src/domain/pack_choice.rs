//! Which buildpacks build a source: those that the spec or the repository names, else detection. Pure.
//!
//! The App's spec wins over app.json, and app.json over `.buildpacks`. If none of them names a pack, `bin/detect` of
//! each of the Stack's packs is run. No language is named here: a short name means the Stack's pack of that name.

#[cfg(test)]
mod tests;

use crate::domain::app_json::{self, AppJsonError};
use slipway_base::reference::is_reference;

/// Most packs of one build.
const MAX: usize = 32;

/// The packs of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where the list comes from, in words for the log.
    pub by: ChosenBy,
    /// In order.
    pub packs: Vec<PackRef>,
}

impl Choice {
    /// Whether each pack has to accept the source.
    pub fn explicit(&self) -> bool {
        self.by != ChosenBy::Detection
    }
}

/// Where a list of packs comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    /// `spec.build.buildpacks`.
    Spec,
    /// `app.json`.
    AppJson,
    /// `.buildpacks`.
    File,
    /// Not named anywhere: all packs of the Stack.
    Detection,
}

/// Where a pack comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackRef {
    /// The Stack has it under this name.
    Bundled(String),
    /// A git repository.
    Git {
        /// Its address.
        url: String,
        /// Branch, tag or commit; if none, the default branch.
        reference: Option<String>,
    },
    /// A tar archive.
    Archive {
        /// Its address.
        url: String,
        /// Whether it is gzipped.
        gzip: bool,
    },
}

impl PackRef {
    /// Its name in the log and the Build's status.
    pub fn name(&self) -> String {
        match self {
            Self::Bundled(name) => name.clone(),
            Self::Archive { url, .. } => short(url),
            Self::Git { url, reference } => match reference {
                None => short(url),
                Some(reference) => format!("{}#{reference}", short(url)),
            },
        }
    }

    /// The last part of its address, for folder names.
    pub fn folder(&self) -> String {
        let address = match self {
            Self::Bundled(name) => name,
            Self::Git { url, .. } | Self::Archive { url, .. } => path(url),
        };
        let last = address.trim_end_matches('/').rsplit('/').next();
        let last = last.unwrap_or_default();
        let last = [".git", ".tar.gz", ".tgz", ".tar"]
            .iter()
            .find_map(|suffix| last.strip_suffix(suffix))
            .unwrap_or(last);
        let name: String = last
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect();
        if name.trim_matches('.').is_empty() {
            "pack".to_owned()
        } else {
            name
        }
    }
}

/// Why no list of packs can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// app.json cannot be read.
    #[error(transparent)]
    AppJson(#[from] AppJsonError),
    /// An entry does not name a pack.
    #[error("{written:?} ({by}) is no buildpack: {why}; the Stack has {bundled}")]
    Unknown {
        /// As written.
        written: String,
        /// Where it is written.
        by: &'static str,
        /// What is wrong with it.
        why: String,
        /// The names of the Stack's packs.
        bundled: String,
    },
    /// Too many.
    #[error("{0} buildpacks are more than the {MAX} that a build may have")]
    TooMany(usize),
    /// The Stack has no packs.
    #[error(
        "the Stack has no buildpacks, and the App names none: add packs to the Stack, or set spec.build.buildpacks"
    )]
    Nothing,
}

/// Chooses. `app_json` and `file` are the repository's `app.json` and `.buildpacks`, where it has them.
pub fn choose(
    spec: &[String],
    app_json: Option<&str>,
    file: Option<&str>,
    bundled: &[String],
) -> Result<Choice, ChoiceError> {
    let from_app_json = match app_json {
        Some(text) => app_json::buildpacks(text)?,
        None => vec![],
    };
    let from_file: Vec<String> = file
        .unwrap_or_default()
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(ToOwned::to_owned)
        .collect();
    let (by, written) = if !spec.is_empty() {
        (ChosenBy::Spec, spec.to_vec())
    } else if !from_app_json.is_empty() {
        (ChosenBy::AppJson, from_app_json)
    } else if !from_file.is_empty() {
        (ChosenBy::File, from_file)
    } else {
        let packs: Vec<_> = bundled.iter().cloned().map(PackRef::Bundled).collect();
        if packs.is_empty() {
            return Err(ChoiceError::Nothing);
        }
        return Ok(Choice {
            by: ChosenBy::Detection,
            packs,
        });
    };
    if written.len() > MAX {
        return Err(ChoiceError::TooMany(written.len()));
    }
    let packs = written
        .iter()
        .map(|text| read(text, by, bundled))
        .collect::<Result<_, _>>()?;
    Ok(Choice { by, packs })
}

fn read(written: &str, by: ChosenBy, bundled: &[String]) -> Result<PackRef, ChoiceError> {
    let text = written.trim();
    let text = text.strip_prefix("urn:buildpack:").unwrap_or(text);
    pack(text, bundled).map_err(|why| ChoiceError::Unknown {
        written: written.to_owned(),
        by: match by {
            ChosenBy::Spec => "spec.build.buildpacks",
            ChosenBy::AppJson => "app.json",
            ChosenBy::File | ChosenBy::Detection => ".buildpacks",
        },
        why: why.to_owned(),
        bundled: if bundled.is_empty() {
            "none".to_owned()
        } else {
            bundled.join(", ")
        },
    })
}

/// The pack that `text` names, or why it names none.
fn pack(text: &str, bundled: &[String]) -> Result<PackRef, &'static str> {
    let (address, reference) = match text.split_once('#') {
        Some((address, reference)) => (address, Some(reference.to_owned())),
        None => (text, None),
    };
    if reference.as_deref().is_some_and(|r| !is_reference(r)) {
        return Err("what stands after # is no branch, tag or commit");
    }
    if address.starts_with("ssh://") || address.split('/').next().unwrap_or_default().contains('@')
    {
        return Err("SSH addresses are not supported, use https");
    }
    if let Some((scheme, rest)) = address.split_once("://") {
        if !["https", "http", "git", "file"].contains(&scheme) || rest.is_empty() {
            return Err("its address is none of https, http and git");
        }
        if rest.split('/').next().unwrap_or_default().contains('@') {
            return Err("its address must not hold credentials");
        }
        return archive_or_git(address, reference)
            .ok_or("this kind of archive is not supported, use .tgz, .tar.gz or .tar");
    }
    if reference.is_some() {
        return Err("only an address may have a # with a branch, tag or commit");
    }
    by_name(address, bundled)
}

/// The pack of a short name: one of the Stack's, or one on GitHub under its owner's name.
fn by_name(name: &str, bundled: &[String]) -> Result<PackRef, &'static str> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let is_bundled = |name: &str| bundled.iter().any(|b| b == name);
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [name] | ["heroku", name] if is_bundled(name) => Ok(PackRef::Bundled((*name).to_owned())),
        [_] => Err("neither an address nor a name of one of the Stack's"),
        [owner, name] if plain(owner) && plain(name) => {
            let owner = if *owner == "heroku-community" {
                "heroku"
            } else {
                owner
            };
            Ok(PackRef::Git {
                url: format!("https://github.com/{owner}/heroku-buildpack-{name}.git"),
                reference: None,
            })
        }
        _ => Err("write an address, owner/name, or a name of one of the Stack's"),
    }
}

fn archive_or_git(address: &str, reference: Option<String>) -> Option<PackRef> {
    let path = path(address);
    let url = address.to_owned();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| path.ends_with(suffix));
    if ends(&[".tgz", ".tar.gz"]) {
        return Some(PackRef::Archive { url, gzip: true });
    }
    if ends(&[".tar"]) {
        return Some(PackRef::Archive { url, gzip: false });
    }
    if ends(&[
        ".tbz", ".tbz2", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst", ".zip",
    ]) {
        return None;
    }
    Some(PackRef::Git { url, reference })
}

/// An address without its query.
fn path(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
}

/// `https://github.com/heroku/x.git` → `heroku/x`. The query of an address is never shown, as it may contain a token.
fn short(url: &str) -> String {
    let url = path(url);
    let short = url.strip_prefix("https://github.com/").unwrap_or(url);
    short.strip_suffix(".git").unwrap_or(short).to_owned()
}
