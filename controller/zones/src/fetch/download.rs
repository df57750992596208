//! Downloads an archive from a web server into an unnamed file, with its digest and within a limit.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    time::Duration,
};

use futures::StreamExt;
use reqwest::{
    Response, Url,
    header::{HeaderValue, LOCATION},
};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use slipway_remotes::{
    registry::last_causes,
    resolve::ResolveError,
    web::{ServerError, Web},
};

/// Why a download failed, and whether another try may help.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct DownloadError {
    message: String,
    pub(super) transient: bool,
}

fn fatal(message: impl std::fmt::Display) -> DownloadError {
    DownloadError {
        message: message.to_string(),
        transient: false,
    }
}

fn broken(error: reqwest::Error) -> DownloadError {
    let error = error.without_url();
    DownloadError {
        message: last_causes(&error),
        transient: !error.is_builder(),
    }
}

/// The address that a redirect leads to.
fn led(from: &Url, to: Option<&HeaderValue>, protocols: &[String]) -> Result<Url, DownloadError> {
    let next = to
        .and_then(|to| std::str::from_utf8(to.as_bytes()).ok())
        .and_then(|to| from.join(to).ok())
        .ok_or_else(|| fatal("it redirects to no address"))?;
    let scheme = next.scheme();
    if !protocols.iter().any(|p| p == scheme) || !["http", "https"].contains(&scheme) {
        return Err(fatal(format!(
            "it redirects to {scheme}, which is not among the protocols that are allowed here"
        )));
    }
    // After a change from https to http, anybody on the network path could send anything.
    if from.scheme() == "https" && scheme == "http" {
        return Err(fatal("it redirects from https to plain http"));
    }
    Ok(next)
}

/// How files are downloaded from web servers.
pub(super) struct Downloads<'a> {
    pub(super) web: &'a Web,
    /// Protocols that are allowed, also after a redirect.
    pub(super) protocols: &'a [String],
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
}

/// Most redirects that are followed.
const REDIRECTS: usize = 10;

impl Downloads<'_> {
    /// The server's answer after its redirects. Each address is checked before it is followed.
    async fn open(&self, url: &str) -> Result<Response, DownloadError> {
        let mut url: Url = url.parse().map_err(fatal)?;
        for _ in 0..=REDIRECTS {
            let server = self.web.server(&url).await.map_err(|error| DownloadError {
                transient: matches!(error, ServerError::Resolve(ResolveError::Unknown { .. })),
                message: error.to_string(),
            })?;
            let request = server.client.get(url.clone()).timeout(self.timeout);
            let response = request.send().await.map_err(broken)?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = led(&url, response.headers().get(LOCATION), self.protocols)?;
        }
        Err(fatal("it redirects without end"))
    }

    /// Downloads a file. Returns it at its start, and the `sha256:…` of its bytes.
    pub(super) async fn get(&self, url: &str) -> Result<(File, String), DownloadError> {
        let response = self.open(url).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(DownloadError {
                message: format!("the server answered {status}"),
                transient: status.is_server_error() || status.as_u16() == 429,
            });
        }
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(fatal)?);
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(broken)?;
            size += chunk.len() as u64;
            if size > self.max_bytes {
                return Err(fatal(format!(
                    "it is larger than the {} MB that are allowed",
                    self.max_bytes / 1_000_000
                )));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(fatal)?;
        }
        file.flush().await.map_err(fatal)?;
        let mut file = file.into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(fatal)?;
        Ok((file, format!("sha256:{}", hex::encode(hash.finalize()))))
    }
}

#[cfg(test)]
mod tests {
    use super::led;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_redirect_is_followed_where_it_is_no_worse_than_what_was_asked_for() {
        let protocols = ["http", "https", "git"].map(str::to_owned);
        for (from, to, expected) in [
            ("https://a/x", "/y", Ok("https://a/y")),
            ("http://a/x", "https://b/y", Ok("https://b/y")),
            ("http://a/x", "http://b/y", Ok("http://b/y")),
            ("https://a/x", "http://a/y", Err("from https to plain http")),
            ("https://a/x", "git://a/y", Err("redirects to git")),
            ("https://a/x", "http://[", Err("to no address")),
        ] {
            let to = HeaderValue::from_static(to);
            let led = led(&from.parse().unwrap(), Some(&to), &protocols);
            match (led, expected) {
                (Ok(led), Ok(expected)) => assert_eq!(led.as_str(), expected),
                (Err(error), Err(expected)) => {
                    assert!(error.message.contains(expected), "{}", error.message);
                }
                (led, expected) => panic!("{from} to {to:?}: {led:?}, not {expected:?}"),
            }
        }
    }
}
