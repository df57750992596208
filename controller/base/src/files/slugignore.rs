//! `.slugignore` text → the paths of a source that no buildpack sees. Pure.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Most bytes of a `.slugignore`.
pub const MAX_BYTES: u64 = 64 * 1024;

/// The note on a line with `!`, which would be an exception in a `.gitignore`.
pub fn negation(text: &str) -> Option<String> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with('!'))?;
    let line: String = line.chars().take(80).collect();
    Some(format!(
        ".slugignore knows no exceptions: {line:?} stands for files whose name begins with an exclamation mark"
    ))
}

/// Compiled patterns.
#[derive(Debug, Default)]
pub struct SlugIgnore(GlobSet);

/// A line that is not a valid pattern.
#[derive(Debug, thiserror::Error)]
#[error(".slugignore: {pattern:?} is no pattern: {message}")]
pub struct SlugIgnoreError {
    pattern: String,
    message: String,
}

impl SlugIgnore {
    /// Reads one glob a line; `#` begins a comment. A pattern with `/` is anchored at the root; one without matches at
    /// any depth. There is no negation: `!` is an ordinary character.
    pub fn parse(text: &str) -> Result<Self, SlugIgnoreError> {
        let mut set = GlobSetBuilder::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for line in text.lines() {
            let pattern = line.split('#').next().unwrap_or_default().trim();
            if pattern.is_empty() {
                continue;
            }
            let anchored = pattern.trim_end_matches('/').contains('/');
            let inner = pattern.trim_matches('/');
            if inner.is_empty() {
                continue;
            }
            let glob = if anchored {
                inner.to_owned()
            } else {
                format!("**/{inner}")
            };
            let wrong = |error: globset::Error| SlugIgnoreError {
                pattern: pattern.to_owned(),
                message: error.kind().to_string(),
            };
            set.add(
                GlobBuilder::new(&glob)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .build()
                    .map_err(wrong)?,
            );
        }
        let set = set.build().map_err(|error| SlugIgnoreError {
            pattern: String::new(),
            message: error.to_string(),
        })?;
        Ok(Self(set))
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path, relative to the root of the source, is left out.
    pub fn matches(&self, path: &std::path::Path) -> bool {
        self.0.is_match(path)
    }

    /// Whether a path or a folder above it is left out.
    pub fn covers(&self, path: &std::path::Path) -> bool {
        path.ancestors().any(|path| self.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::SlugIgnore;

    #[test]
    fn patterns_match_as_the_platform_says() {
        let text = "*.psd\n/docs\ntest/fixtures # big\nlog/\n\n# all of it\n!keep\n/a/*.md\n";
        let ignore = SlugIgnore::parse(text).unwrap();
        for (path, expected) in [
            ("a.psd", true),
            ("deep/er/a.psd", true),
            ("docs", true),
            ("sub/docs", false),
            ("test/fixtures", true),
            ("sub/test/fixtures", false),
            ("log", true),
            ("sub/log", true),
            ("all", false),
            ("keep", false),
            ("!keep", true),
            ("a/x.md", true),
            ("a/b/x.md", false),
            ("package.json", false),
        ] {
            assert_eq!(ignore.matches(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_in_a_folder_that_goes_is_covered() {
        let ignore = SlugIgnore::parse("/docs\n*.psd\n").unwrap();
        for (path, expected) in [
            ("docs/deep/a.md", true),
            ("a/b.psd/c", true),
            ("a/docs/b", false),
            ("", false),
        ] {
            assert_eq!(ignore.covers(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn nothing_is_left_out_by_an_empty_file() {
        assert!(SlugIgnore::parse("\n# x\n/\n").unwrap().is_empty());
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = SlugIgnore::parse("a[").unwrap_err().to_string();
        assert!(error.contains("\"a[\""), "{error}");
    }
}
