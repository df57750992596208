//! Single blobs and manifests: `push` and `pull` move them; what both need is here.

mod pull;
mod push;

use std::time::Duration;

use http::{HeaderValue, Method, header};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use crate::registry::{
    Descriptor, Registry, RegistryError,
    doing::Doing,
    manifest::{is_digest, is_plain},
    wire::{Ask, READ},
};

/// Time that every blob's transfer may take, in addition to the time for its bytes.
const TRANSFER: Duration = Duration::from_mins(2);
/// Slowest rate of a transfer, in bytes a second.
const SLOWEST: u64 = 100_000;

/// Longest time for the transfer of a blob of this size.
fn longest(size: u64) -> Duration {
    TRANSFER + Duration::from_secs(size / SLOWEST)
}

/// The token scope for reading a repository.
fn reads(repository: &str) -> [String; 1] {
    [format!("repository:{repository}:pull")]
}

/// The token scope for writing to a repository.
fn writes(repository: &str) -> [String; 1] {
    [format!("repository:{repository}:pull,push")]
}

impl Registry {
    /// Describes a request, after checking that the names cannot lead to another path.
    fn plain<'a>(
        &'a self,
        repository: &'a str,
        action: &'static str,
        what: &'a str,
    ) -> Result<Doing<'a>, RegistryError> {
        let doing = self.doing(repository, action, what);
        if is_plain(repository) && is_plain(what) && !what.contains('/') {
            Ok(doing)
        } else {
            Err(doing.invalid("repository with a tag or digest", "it is misspelt"))
        }
    }

    /// Like `plain`, for a request about a blob.
    fn blob<'a>(
        &'a self,
        repository: &'a str,
        action: &'static str,
        blob: &'a str,
    ) -> Result<Doing<'a>, RegistryError> {
        let doing = self.plain(repository, action, blob)?;
        if is_digest(blob) {
            Ok(doing)
        } else {
            Err(doing.invalid("digest", "it has to be sha256: and 64 hexadecimal digits"))
        }
    }

    /// Whether the repository has this blob. The client requests its last byte: a registry that was cleaned up while it
    /// ran may report a blob whose bytes it has lost.
    pub async fn has(&self, repository: &str, blob: &Descriptor) -> Result<bool, RegistryError> {
        let doing = self.blob(repository, "read", &blob.digest)?;
        self.retry(|| self.holds(&doing, blob.size)).await
    }

    /// One attempt of `has`.
    async fn holds(&self, doing: &Doing<'_>, size: u64) -> Result<bool, RegistryError> {
        let scopes = reads(doing.repository);
        let url = self.wire.url(&[doing.repository, "blobs", doing.what]);
        let mut ask = Ask::new(Method::GET, url, &scopes);
        if let Some(last) = size.checked_sub(1) {
            let range = HeaderValue::try_from(format!("bytes={last}-{last}"));
            let range = range.map_err(|error| doing.invalid("blob", error))?;
            ask.headers.insert(header::RANGE, range);
        }
        let mut response = self.wire.send(doing, ask).await?;
        match response.status() {
            // The blob is shorter than it should be.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Ok(false),
            status if status.is_success() && size == 0 => Ok(true),
            status if status.is_success() => {
                // One byte is enough. If the registry ignores the range and sends the whole blob, dropping the answer
                // ends the transfer.
                let first = timeout(READ, response.chunk()).await;
                let first = first.map_err(|_| doing.silent(READ))?;
                Ok(matches!(first, Ok(Some(bytes)) if !bytes.is_empty()))
            }
            _ => Err(self.wire.trouble(doing, response).await),
        }
    }

    fn slow(&self, doing: &Doing<'_>, size: u64) -> RegistryError {
        RegistryError::Slow {
            registry: self.address.clone(),
            repository: doing.repository.to_owned(),
            size,
            seconds: longest(size).as_secs(),
        }
    }

    /// Turns an error status into an error.
    async fn done(&self, doing: &Doing<'_>, response: Response) -> Result<(), RegistryError> {
        if response.status().is_success() {
            Ok(())
        } else {
            Err(self.wire.trouble(doing, response).await)
        }
    }
}

#[cfg(test)]
mod tests;
