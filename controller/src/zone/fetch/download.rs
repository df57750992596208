//! An archive of a web server → an unnamed file, with its digest and within a limit.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Seek, SeekFrom},
    time::Duration,
};

use futures::StreamExt;
use reqwest::redirect::Policy;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use crate::registry::chain;

/// Why a download failed, and whether trying again may help.
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

/// How to reach web servers.
pub(super) struct Web<'a> {
    pub(super) ca_pem: Option<&'a str>,
    pub(super) env: &'a BTreeMap<String, String>,
    /// Those that may be spoken, also where a server sends us elsewhere.
    pub(super) protocols: &'a [String],
    pub(super) max_bytes: u64,
    pub(super) timeout: Duration,
}

/// Most redirects that are followed.
const REDIRECTS: usize = 10;

fn redirects(protocols: Vec<String>) -> Policy {
    Policy::custom(move |attempt| {
        let scheme = attempt.url().scheme().to_owned();
        if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects without end")
        } else if protocols.contains(&scheme) {
            attempt.follow()
        } else {
            attempt.error(format!(
                "it redirects to {scheme}, which is not among the protocols that are allowed here"
            ))
        }
    })
}

impl Web<'_> {
    fn client(&self) -> Result<reqwest::Client, DownloadError> {
        let mut builder = reqwest::Client::builder()
            .user_agent("slipway")
            .connect_timeout(Duration::from_secs(20))
            .timeout(self.timeout)
            .redirect(redirects(self.protocols.to_vec()))
            .no_proxy();
        if let Some(ca_pem) = self.ca_pem {
            let certificates =
                reqwest::Certificate::from_pem_bundle(ca_pem.as_bytes()).map_err(fatal)?;
            builder = builder.tls_certs_merge(certificates);
        }
        let get = |name: &str| {
            let lower = self.env.get(&name.to_lowercase());
            lower
                .or_else(|| self.env.get(name))
                .filter(|v| !v.is_empty())
        };
        let except = get("NO_PROXY").and_then(|list| reqwest::NoProxy::from_string(list));
        if let Some(proxy) = get("HTTPS_PROXY") {
            let proxy = reqwest::Proxy::https(proxy.as_str()).map_err(fatal)?;
            builder = builder.proxy(proxy.no_proxy(except.clone()));
        }
        if let Some(proxy) = get("HTTP_PROXY") {
            let proxy = reqwest::Proxy::http(proxy.as_str()).map_err(fatal)?;
            builder = builder.proxy(proxy.no_proxy(except));
        }
        builder.build().map_err(fatal)
    }

    /// Gets a file, at its begin, and the `sha256:…` of its bytes.
    pub(super) async fn get(&self, url: &str) -> Result<(File, String), DownloadError> {
        let broken = |error: reqwest::Error| {
            let error = error.without_url();
            DownloadError {
                message: chain(&error),
                transient: !error.is_builder() && !error.is_redirect(),
            }
        };
        let response = self.client()?.get(url).send().await.map_err(broken)?;
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
