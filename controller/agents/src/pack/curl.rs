//! Downloads a URL into a file with the build image's curl. A failed download leaves no file.

use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("only http and https are downloaded, not {0}")]
    Scheme(String),
    #[error("this image has no curl, which downloads need")]
    Missing { source: std::io::Error },
    #[error("cannot download {url}: {why}")]
    Failed { url: String, why: String },
}

/// Downloads `url` into `file`; curl tries again after failures that may pass.
pub fn download(url: &str, accept: &str, file: &Path) -> Result<(), Error> {
    if !(url.starts_with("https://") || url.starts_with("http://")) {
        return Err(Error::Scheme(without_credentials(url)));
    }
    let output = Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--proto",
            "=http,https",
        ])
        // For a dead address, curl gives up within 45 seconds, all tries together.
        .args(["--retry", "4", "--retry-connrefused"])
        .args(["--connect-timeout", "10", "--retry-max-time", "30"])
        // curl ends a stalled transfer (less than 1000 bytes a second for 60 s), but not one that is only slow.
        .args([
            "--speed-limit",
            "1000",
            "--speed-time",
            "60",
            "--compressed",
        ])
        .args(["--header", &format!("Accept: {accept}"), "--output"])
        .arg(file)
        .args(["--", url])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Missing { source })?;
    if output.status.success() {
        return Ok(());
    }
    // There may be no file to remove.
    let _ = std::fs::remove_file(file);
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said
        .lines()
        .rfind(|line| line.starts_with("curl: "))
        .unwrap_or("curl failed")
        .to_owned();
    Err(Error::Failed {
        url: without_credentials(url),
        why,
    })
}

/// The address for messages: that of a mirror may hold a password.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_told() {
        for (url, told) in [
            (
                "https://registry.npmjs.org/npm",
                "https://registry.npmjs.org/npm",
            ),
            (
                "https://user:p@ss@mirror.example/npm@1",
                "https://mirror.example/npm@1",
            ),
            ("https://token@mirror.example", "https://mirror.example"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_credentials(url), told);
        }
    }

    #[test]
    fn only_the_web_is_downloaded_from() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let error = download("file:///etc/passwd", "*/*", &file)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "only http and https are downloaded, not file:///etc/passwd"
        );
        assert!(!file.exists());
    }
}
