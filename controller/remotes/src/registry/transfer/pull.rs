//! Pulls manifests and blobs. What arrives is checked against its digest and size.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use reqwest::Response;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use crate::registry::{
    Descriptor, Registry, RegistryError,
    doing::Doing,
    manifest::{ACCEPTED, DOCKER_LIST, Manifest, OCI_INDEX, digest, index::Index},
    transfer::{longest, reads},
    wire::{Ask, READ},
};

impl Registry {
    /// The manifest under a tag or digest, `None` if there is none. If it is an index, the manifest for this machine's
    /// platform.
    pub async fn manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let Some((body, own)) = self.raw_manifest(repository, tag_or_digest).await? else {
            return Ok(None);
        };
        let doing = self.doing(repository, "read", tag_or_digest);
        let found = self.image_in(&doing, body, own).await?;
        Ok(found.map(|(image, digest)| Manifest { digest, image }))
    }

    /// Parses an image's manifest and returns it with its digest. If the bytes are an index, fetches the manifest for
    /// this machine's platform first.
    pub(in crate::registry) async fn image_in<T: DeserializeOwned>(
        &self,
        doing: &Doing<'_>,
        body: Bytes,
        own: String,
    ) -> Result<Option<(T, String)>, RegistryError> {
        let (body, own) = match entry(doing, &body)? {
            None => (body, own),
            Some(entry) => {
                // Frees this document before the next one arrives.
                drop(body);
                match self.raw_manifest(doing.repository, &entry).await? {
                    Some(found) => found,
                    None => return Ok(None),
                }
            }
        };
        let image =
            serde_json::from_slice(&body).map_err(|error| doing.invalid("manifest", error))?;
        Ok(Some((image, own)))
    }

    /// The bytes and digest of a manifest or index.
    pub(in crate::registry) async fn raw_manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Result<Option<(Bytes, String)>, RegistryError> {
        let doing = self.plain(repository, "read", tag_or_digest)?;
        self.retry(|| self.one_manifest(&doing)).await
    }

    /// One attempt of `raw_manifest`.
    pub(super) async fn one_manifest(
        &self,
        doing: &Doing<'_>,
    ) -> Result<Option<(Bytes, String)>, RegistryError> {
        let scopes = reads(doing.repository);
        let url = self.wire.url(&[doing.repository, "manifests", doing.what]);
        let mut ask = Ask::new(Method::GET, url, &scopes);
        ask.headers = accepted();
        let response = self.wire.send(doing, ask).await?;
        if !response.status().is_success() {
            return match self.wire.trouble(doing, response).await {
                RegistryError::NotFound { .. } => Ok(None),
                error => Err(error),
            };
        }
        // The digest header of the registry is ignored: the digest of the received bytes counts.
        let body = self.wire.document(doing, response).await?;
        let own = digest(&body);
        if doing.what.starts_with("sha256:") && own != doing.what {
            return Err(doing.damaged());
        }
        Ok(Some((body, own)))
    }

    /// Downloads a blob to an unnamed temporary file and checks its digest and size. The file is at its start.
    pub async fn pull_file(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> Result<File, RegistryError> {
        let doing = self.blob(repository, "read", &blob.digest)?;
        let scopes = reads(repository);
        // `urls` in a manifest are never followed.
        let url = self.wire.url(&[repository, "blobs", &blob.digest]);
        self.retry(|| async {
            let ask = Ask::new(Method::GET, url.clone(), &scopes);
            let response = self.wire.send(&doing, ask).await?;
            if !response.status().is_success() {
                return Err(self.wire.trouble(&doing, response).await);
            }
            let until = Instant::now() + longest(blob.size);
            timeout_at(until, download(&doing, response, blob.size))
                .await
                .map_err(|_| self.slow(&doing, blob.size))?
        })
        .await
    }

    /// The bytes of a small blob, such as a config.
    pub async fn pull_bytes(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let doing = self.blob(repository, "read", &blob.digest)?;
        if blob.size > self.wire.bounds.document {
            return Err(doing.invalid("document", format!("{} bytes are too many", blob.size)));
        }
        let file = self.pull_file(repository, blob).await?;
        let mut bytes = Vec::new();
        let mut file = tokio::fs::File::from_std(file);
        tokio::io::AsyncReadExt::read_to_end(&mut file, &mut bytes).await?;
        Ok(bytes)
    }
}

/// Downloads a blob into a file. Stops as soon as there is a byte more than expected.
async fn download(
    doing: &Doing<'_>,
    mut response: Response,
    wanted: u64,
) -> Result<File, RegistryError> {
    let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    loop {
        let chunk = timeout(READ, response.chunk())
            .await
            .map_err(|_| doing.silent(READ))?
            .map_err(|error| doing.request(error))?;
        let Some(chunk) = chunk else { break };
        size = size.saturating_add(chunk.len() as u64);
        if size > wanted {
            return Err(doing.damaged());
        }
        hash.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    if size != wanted || format!("sha256:{}", hex::encode(hash.finalize())) != doing.what {
        return Err(doing.damaged());
    }
    let mut file = file.into_std().await;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// For an index, the digest of the image for this machine's platform; `None` for any other manifest.
fn entry(doing: &Doing<'_>, body: &Bytes) -> Result<Option<String>, RegistryError> {
    let kind: Kind =
        serde_json::from_slice(body).map_err(|error| doing.invalid("manifest", error))?;
    if !kind.is_index() {
        return Ok(None);
    }
    let index: Index =
        serde_json::from_slice(body).map_err(|error| doing.invalid("index", error))?;
    let ours = index.ours().map(str::to_owned);
    let ours = ours.ok_or_else(|| doing.other_platform(&index.platforms()))?;
    Ok(Some(ours))
}

/// The `Accept` headers of a request for a manifest.
fn accepted() -> http::HeaderMap {
    ACCEPTED
        .iter()
        .map(|accepted| (header::ACCEPT, HeaderValue::from_static(accepted)))
        .collect()
}

/// Tells an index from a manifest, even without a media type.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

impl Kind {
    fn is_index(&self) -> bool {
        self.media_type == OCI_INDEX || self.media_type == DOCKER_LIST || self.manifests.is_some()
    }
}
