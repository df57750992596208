//! The source before the first pack sees it: without what `.slugignore` names, without a repository's own folder,
//! with a Procfile that has no carriage returns.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use crate::domain::{
    procfile,
    slugignore::{self, SlugIgnore},
};
use crate::engine::{log::Log, read_bounded};

/// Why the source could not be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The volume.
    #[error("cannot prepare the source: {path}: {error}")]
    Io {
        /// What was touched.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// Patterns that are none.
    #[error(transparent)]
    SlugIgnore(#[from] slugignore::SlugIgnoreError),
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.display().to_string();
    move |error| SourceError::Io { path, error }
}

/// Prepares `BUILD_DIR` in place.
pub(super) fn prepare(build_dir: &Path, log: &mut Log<'_>) -> Result<(), SourceError> {
    remove(&build_dir.join(".git"))?;
    let file = build_dir.join(".slugignore");
    if let Some(text) = read_bounded(&file, slugignore::MAX_BYTES).map_err(failed(&file))? {
        let ignore = SlugIgnore::parse(&text)?;
        if !ignore.is_empty() {
            let removed = leave_out(build_dir, &ignore)?;
            log.heading(&format!(
                "Deleting {removed} files matching .slugignore patterns."
            ));
        }
    }
    let file = build_dir.join("Procfile");
    // A link is left alone: what it points at may be shared with other files.
    if fs::symlink_metadata(&file).is_ok_and(|m| m.is_file())
        && let Ok(Some(text)) = read_bounded(&file, procfile::MAX_BYTES)
        && text.contains('\r')
    {
        fs::write(&file, text.replace("\r\n", "\n")).map_err(failed(&file))?;
    }
    Ok(())
}

/// The Procfile, after the last compile: packs may write one.
pub(super) fn read_procfile(build_dir: &Path) -> io::Result<Option<String>> {
    read_bounded(&build_dir.join("Procfile"), procfile::MAX_BYTES)
}

fn leave_out(root: &Path, ignore: &SlugIgnore) -> Result<usize, SourceError> {
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
    for path in &doomed {
        remove(path)?;
    }
    Ok(doomed.len())
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
mod tests {
    use std::{fs, path::Path};

    use super::{super::log::Log, prepare};

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_source_is_prepared_before_packs_see_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, ".git/HEAD", "x");
        write(root, ".slugignore", "*.psd\n/docs\n");
        write(root, "Procfile", "web: a\r\nworker: b\r\n");
        write(root, "a/b/c.psd", "x");
        write(root, "docs/deep/x.md", "x");
        write(root, "a/docs/kept", "x");
        let mut out = Vec::new();
        prepare(root, &mut Log::new(&mut out, &[])).unwrap();
        assert!(!root.join(".git").exists() && !root.join("docs").exists());
        assert!(!root.join("a/b/c.psd").exists() && root.join("a/docs/kept").exists());
        assert_eq!(
            fs::read_to_string(root.join("Procfile")).unwrap(),
            "web: a\nworker: b\n"
        );
        let shown = String::from_utf8(out).unwrap();
        assert_eq!(
            shown,
            "-----> Deleting 2 files matching .slugignore patterns.\n"
        );
    }

    #[test]
    fn links_that_leave_the_source_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        write(outside.path(), "kept", "x\r\n");
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("kept"), root.path().join("Procfile"))
            .unwrap();
        write(root.path(), ".slugignore", "link\nkept\n");
        prepare(root.path(), &mut Log::new(&mut Vec::new(), &[])).unwrap();
        assert_eq!(
            fs::read_to_string(outside.path().join("kept")).unwrap(),
            "x\r\n"
        );
        assert!(fs::symlink_metadata(root.path().join("link")).is_err());
    }
}
