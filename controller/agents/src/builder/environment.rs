//! The process environment of buildpacks: a short list that never holds the App's variables. Buildpacks find those as
//! files in `ENV_DIR`.
//!
//! Variables that a buildpack exports are visible to the `bin/compile` of later buildpacks only.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::Path,
};

use crate::builder::Paths;
use slipway_base::zone::input::BuildInput;

/// The folder of `slipway-pack` comes last, so that a program of the Stack or of a pack always wins.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables that bash sets by itself.
const OF_BASH: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

pub(super) type Variables = Vec<(OsString, OsString)>;

/// The process environment of buildpacks.
pub(super) struct Environment {
    base: BTreeMap<OsString, OsString>,
    exported: BTreeMap<OsString, OsString>,
}

impl Environment {
    pub(super) fn new(input: &BuildInput, paths: &Paths) -> Self {
        let own = paths.programs();
        let own: &[(&str, String)] = &[
            ("PATH", format!("{PATH}:{}", own.display())),
            ("HOME", paths.home.display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            ("STACK", input.stack_name.clone()),
            ("SOURCE_VERSION", input.source_version.clone()),
            ("SOURCE_DATE_EPOCH", input.source_date_epoch.to_string()),
            ("REQUEST_ID", input.request_id.clone()),
            ("DYNO", "run.1".to_owned()),
            ("BUILDPACK_LOG_FILE", "/dev/null".to_owned()),
        ];
        // Buildpacks' own limits for downloads assume a data centre close to their servers.
        let mut base: BTreeMap<OsString, OsString> =
            [("CURL_CONNECT_TIMEOUT", "90"), ("CURL_TIMEOUT", "600")]
                .into_iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect();
        for (name, value) in &input.process_env {
            base.insert(name.into(), value.into());
        }
        for (name, value) in own {
            base.insert(name.into(), value.into());
        }
        Self {
            exported: base.clone(),
            base,
        }
    }

    /// The environment of detect, release and report.
    pub(super) fn base(&self) -> Variables {
        Self::list(&self.base)
    }

    /// The environment of compile: `base` and what earlier buildpacks exported.
    pub(super) fn exported(&self) -> Variables {
        Self::list(&self.exported)
    }

    /// Takes over the variables that `env -0` printed after bash had sourced an `export` file.
    pub(super) fn take(&mut self, printed: &[u8]) {
        self.exported = printed
            .split(|b| *b == 0)
            .filter_map(|entry| {
                let at = entry.iter().position(|b| *b == b'=')?;
                let (name, value) = entry.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                Some((
                    OsStr::from_bytes(name).to_owned(),
                    OsString::from_vec(value.to_vec()),
                ))
            })
            .filter(|(name, _)| !OF_BASH.iter().any(|of_bash| name == of_bash))
            .collect();
    }

    fn list(of: &BTreeMap<OsString, OsString>) -> Variables {
        of.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// Whether a shell accepts this name for a variable.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Writes one file for each variable, readable by this user only; the file holds the value and nothing else. Returns
/// the names that it left out because no shell accepts them.
pub(super) fn write_env_dir(dir: &Path, env: &BTreeMap<String, String>) -> io::Result<Vec<String>> {
    if !dir.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(dir)?;
    }
    let mut refused = vec![];
    for (name, value) in env {
        if !is_name(name) {
            refused.push(name.clone());
            continue;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(dir.join(name))?
            .write_all(value.as_bytes())?;
    }
    Ok(refused)
}

#[cfg(test)]
mod tests;
