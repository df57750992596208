//! Prepares the source before the first buildpack sees it: removes the files that `.slugignore` names and the
//! repository's own folder, and removes carriage returns and the byte order mark from the Procfile.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use crate::builder::{log::Log, read_bounded};
use slipway_base::files::{
    encoding::{self, NoText},
    misnamed, procfile,
    slugignore::{self, SlugIgnore},
};

/// The file that declares the process types.
const PROCFILE: &str = "Procfile";
/// Most removed files that the log names.
const SHOWN: usize = 20;
/// Most entries of a folder that are searched for a misspelt name.
const ENTRIES: usize = 10_000;

/// Why the source could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The volume cannot be read or written.
    #[error("cannot prepare the source: {path}: {error}")]
    Io {
        /// The path.
        path: String,
        /// The error.
        error: io::Error,
    },
    /// `.slugignore` has a pattern that is not valid.
    #[error(transparent)]
    SlugIgnore(#[from] slugignore::SlugIgnoreError),
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.display().to_string();
    move |error| SourceError::Io { path, error }
}

/// Prepares `BUILD_DIR` in place. Returns notes for the source's author.
pub(super) fn prepare(build_dir: &Path, log: &mut Log<'_>) -> Result<Vec<String>, SourceError> {
    let mut notes: Vec<String> = ["app.json", ".buildpacks", ".slugignore"]
        .into_iter()
        .filter_map(|name| misnamed_file(build_dir, name))
        .collect();
    remove(&build_dir.join(".git"))?;
    let file = build_dir.join(".slugignore");
    if let Some(bytes) = read_bounded(&file, slugignore::MAX_BYTES).map_err(failed(&file))? {
        match encoding::text_with_marks(bytes) {
            Err(why) => notes.push(format!(".slugignore {why}: it leaves nothing out")),
            Ok(text) => {
                notes.extend(slugignore::negation(&text));
                let ignore = SlugIgnore::parse(&text)?;
                if !ignore.is_empty() {
                    let gone = leave_out(build_dir, &ignore)?;
                    tell(&gone, log);
                    if gone.iter().any(|path| path == PROCFILE) {
                        notes.push(format!(
                            ".slugignore takes {PROCFILE} out, so that its processes do not count: take the pattern out"
                        ));
                    }
                }
            }
        }
    }
    let file = build_dir.join(PROCFILE);
    // A link is left alone: other files may share its target.
    if fs::symlink_metadata(&file).is_ok_and(|m| m.is_file())
        && let Ok(Some(bytes)) = read_bounded(&file, procfile::MAX_BYTES)
        && let Ok(text) = encoding::text(bytes.clone())
        && let text = procfile::unix_lines(&text)
        && text.as_bytes() != bytes
    {
        fs::write(&file, &*text).map_err(failed(&file))?;
    }
    Ok(notes)
}

/// Logs the files that `.slugignore` removed.
fn tell(gone: &[String], log: &mut Log<'_>) {
    log.heading(&format!(
        "Deleting {} files matching .slugignore patterns.",
        gone.len()
    ));
    for path in gone.iter().take(SHOWN) {
        log.detail(path);
    }
    if gone.len() > SHOWN {
        log.detail(&format!("and {} more", gone.len() - SHOWN));
    }
}

/// The Procfile, as far as there is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Its text.
    pub(super) text: Option<String>,
    /// A note for its author.
    pub(super) note: Option<String>,
}

/// Reads the Procfile after the last compile, because buildpacks may write one.
pub(super) fn read_procfile(build_dir: &Path) -> Result<Found, String> {
    let path = build_dir.join(PROCFILE);
    let bytes = read_bounded(&path, procfile::MAX_BYTES)
        .map_err(|error| format!("{PROCFILE} cannot be read: {error}"))?;
    let Some(bytes) = bytes else {
        let note = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Some(format!(
                "{PROCFILE} is a folder, and is not read: it has to be a file"
            )),
            Ok(_) => Some(format!(
                "{PROCFILE} is a link to nothing, or no file, and is not read: commit the file itself"
            )),
            Err(_) => misnamed_file(build_dir, PROCFILE),
        };
        return Ok(Found { text: None, note });
    };
    let plain = encoding::text(bytes.clone());
    let text = encoding::text_with_marks(bytes).map_err(|why| format!("{PROCFILE} {why}"))?;
    Ok(Found {
        text: Some(text),
        note: (plain == Err(NoText::Other)).then(|| {
            format!(
                "{PROCFILE} {}: some of its characters could not be read",
                NoText::Other
            )
        }),
    })
}

/// A note about a file that was probably meant to have this name, if no file has it.
fn misnamed_file(build_dir: &Path, name: &str) -> Option<String> {
    if fs::symlink_metadata(build_dir.join(name)).is_ok() {
        return None;
    }
    let names: Vec<String> = fs::read_dir(build_dir)
        .ok()?
        .take(ENTRIES)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let meant = misnamed::meant(name, names.iter().map(String::as_str))?;
    Some(format!(
        "there is no {name}, and {meant:?} is not read: {}",
        misnamed::rename(meant, name)
    ))
}

/// Removes ignored files. Returns their paths; of a removed folder, only the folder's.
fn leave_out(root: &Path, ignore: &SlugIgnore) -> Result<Vec<String>, SourceError> {
    let mut doomed: Vec<PathBuf> = vec![];
    let mut walk = WalkDir::new(root).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|error| SourceError::Io {
            path: root.display().to_string(),
            error: error.into(),
        })?;
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if ignore.matches(relative) {
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            doomed.push(entry.into_path());
        }
    }
    doomed.sort();
    let mut gone = Vec::new();
    for path in &doomed {
        let folder = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
        let relative = path.strip_prefix(root).unwrap_or(path);
        gone.push(format!(
            "{}{}",
            relative.display(),
            if folder { "/" } else { "" }
        ));
        remove(path)?;
    }
    Ok(gone)
}

fn remove(path: &Path) -> Result<(), SourceError> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(failed(path)),
    }
}

#[cfg(test)]
mod tests;
