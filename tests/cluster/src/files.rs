//! Content → a file with the right mode, whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};

/// A configuration file, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub content: String,
    pub secret: bool,
}

impl File {
    pub fn public(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            content: content.into(),
            secret: false,
        }
    }

    pub fn secret(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            secret: true,
            ..Self::public(path, content)
        }
    }

    pub fn write(&self) -> Result<()> {
        write(
            &self.path,
            self.content.as_bytes(),
            if self.secret { 0o600 } else { 0o644 },
        )
    }
}

/// Writes a file beside the target and renames it, so that a reader never sees half of it. Creates the folders above.
pub fn write(path: &str, content: &[u8], mode: u32) -> Result<()> {
    let saying = || format!("writing {path}");
    if let Some(folder) = Path::new(path).parent() {
        folder_at(&folder.to_string_lossy(), 0o755)?;
    }
    let beside = format!("{path}.new");
    if Path::new(&beside).exists() {
        fs::remove_file(&beside).with_context(saying)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(content))
        .with_context(saying)?;
    fs::rename(&beside, path).with_context(saying)
}

pub fn folder_at(path: &str, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("creating folder {path}"))
}

/// `length` random bytes in hexadecimal.
pub fn random_hex(length: usize) -> Result<String> {
    use std::fmt::Write as _;
    use std::io::Read;
    let mut bytes = vec![0; length];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The last `lines` lines of a file that may not exist.
pub fn tail(path: &str, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_for_its_owner_only_also_when_it_replaces_a_readable_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder
            .path()
            .join("below/secret")
            .to_string_lossy()
            .into_owned();
        File::public(&path, "open").write().expect("public");
        File::secret(&path, "hidden").write().expect("secret");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_to_string(&path).expect("read"), "hidden");
    }

    #[test]
    fn the_tail_is_the_end() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log").to_string_lossy().into_owned();
        write(&path, b"1\n2\n3\n", 0o644).expect("written");
        assert_eq!(tail(&path, 2), "2\n3");
        assert_eq!(tail(&path, 9), "1\n2\n3");
        assert_eq!(tail("/nowhere", 9), "");
    }
}
