//! Pushes blobs and manifests, mounts blobs of another repository, and checks that the registry has kept them.

use std::{collections::BTreeMap, fs::File, io, iter, os::unix::fs::FileExt as _, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, header};
use reqwest::StatusCode;
use tokio::{task::spawn_blocking, time::timeout};

use crate::registry::{
    Descriptor, Registry, RegistryError,
    doing::Doing,
    manifest::{ImageManifest, digest},
    transfer::{longest, reads, writes},
    wire::{Ask, Body},
};

/// How many objects are checked at once.
const AT_ONCE: usize = 4;

/// Bytes that one read of a file takes.
const CHUNK: usize = 256 * 1024;

impl Registry {
    /// Uploads a file from its start, unless the repository has it. Returns how many bytes were uploaded.
    pub async fn push_file(
        &self,
        repository: &str,
        blob: &Descriptor,
        file: &Arc<File>,
    ) -> Result<u64, RegistryError> {
        if self.has(repository, blob).await? {
            return Ok(0);
        }
        let doing = self.blob(repository, "write", &blob.digest)?;
        self.retry(|| {
            let content = reqwest::Body::wrap_stream(pieces(Arc::clone(file)));
            self.upload(&doing, Body::Stream(content, blob.size), blob.size)
        })
        .await?;
        Ok(blob.size)
    }

    /// Uploads some bytes, unless the repository has them. Returns how many bytes were uploaded.
    pub async fn push_bytes(
        &self,
        repository: &str,
        content: &Bytes,
    ) -> Result<u64, RegistryError> {
        let blob = Descriptor {
            digest: digest(content),
            size: content.len() as u64,
            ..Descriptor::default()
        };
        if self.has(repository, &blob).await? {
            return Ok(0);
        }
        let doing = self.blob(repository, "write", &blob.digest)?;
        self.retry(|| self.upload(&doing, Body::Bytes(content.clone()), blob.size))
            .await?;
        Ok(blob.size)
    }

    /// One attempt to upload the blob of `doing`. The registry answers only after the last byte, so the wait covers the
    /// whole upload.
    async fn upload(&self, doing: &Doing<'_>, body: Body, size: u64) -> Result<(), RegistryError> {
        let most = longest(size);
        let scopes = writes(doing.repository);
        let upload = async {
            let url = self.wire.url(&[doing.repository, "blobs", "uploads", ""]);
            let begun = self
                .wire
                .send(doing, Ask::new(Method::POST, url, &scopes))
                .await?;
            if begun.status() != StatusCode::ACCEPTED {
                return Err(self.wire.trouble(doing, begun).await);
            }
            let to = begun.headers().get(header::LOCATION);
            let mut url = self.wire.led(doing, begun.url(), to)?;
            url.query_pairs_mut().append_pair("digest", doing.what);
            let mut ask = Ask::new(Method::PUT, url, &scopes);
            ask.body = body;
            ask.wait = most;
            ask.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            );
            let response = self.wire.send(doing, ask).await?;
            self.done(doing, response).await
        };
        timeout(most, upload)
            .await
            .map_err(|_| self.slow(doing, size))?
    }

    /// Mounts a blob of one repository in another one of the same registry. If the registry cannot mount, the blob is
    /// downloaded and uploaded. Returns how many bytes were uploaded.
    pub async fn mount(
        &self,
        from: &str,
        to: &str,
        blob: &Descriptor,
    ) -> Result<u64, RegistryError> {
        if from == to || self.has(to, blob).await? {
            return Ok(0);
        }
        let doing = self.blob(to, "write", &blob.digest)?;
        let scopes = [writes(to), reads(from)].concat();
        let mut url = self.wire.url(&[to, "blobs", "uploads", ""]);
        url.query_pairs_mut()
            .append_pair("mount", &blob.digest)
            .append_pair("from", from);
        let mounted = self
            .retry(|| async {
                let ask = Ask::new(Method::POST, url.clone(), &scopes);
                let response = self.wire.send(&doing, ask).await?;
                match response.status() {
                    StatusCode::CREATED => Ok(true),
                    // "Accepted" instead of "Created" means that the registry wants the bytes.
                    StatusCode::ACCEPTED => Ok(false),
                    _ => Err(self.wire.trouble(&doing, response).await),
                }
            })
            .await?;
        if mounted {
            return Ok(0);
        }
        let file = self.pull_file(from, blob).await?;
        self.push_file(to, blob, &Arc::new(file)).await
    }

    /// Pushes a manifest under a tag or, without one, under its digest. Then checks that the registry has it and
    /// everything that it names. Returns its digest.
    pub async fn push_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        manifest: &ImageManifest,
    ) -> Result<String, RegistryError> {
        let body = serde_json::to_vec(manifest).map_err(|error| {
            self.doing(repository, "write", "")
                .invalid("manifest", error)
        })?;
        let own = digest(&body);
        let name = tag.unwrap_or(&own);
        let doing = self.plain(repository, "write", name)?;
        let content_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|error| doing.invalid("manifest", error))?;
        let scopes = writes(repository);
        let url = self.wire.url(&[repository, "manifests", name]);
        let body = Bytes::from(body);
        self.retry(|| async {
            let mut ask = Ask::new(Method::PUT, url.clone(), &scopes);
            ask.headers
                .insert(header::CONTENT_TYPE, content_type.clone());
            ask.body = Body::Bytes(body.clone());
            let response = self.wire.send(&doing, ask).await?;
            self.done(&doing, response).await
        })
        .await?;
        self.confirm(repository, &own, manifest).await?;
        Ok(own)
    }

    /// Checks that the registry has what was pushed: one that is cleaned up meanwhile, or was before, can accept
    /// everything and still lose it.
    async fn confirm(
        &self,
        repository: &str,
        own: &str,
        manifest: &ImageManifest,
    ) -> Result<(), RegistryError> {
        let blobs = iter::once(&manifest.config).chain(&manifest.layers);
        let blobs: BTreeMap<&str, u64> = blobs.map(|b| (b.digest.as_str(), b.size)).collect();
        let mut looks = Vec::new();
        for (blob, size) in blobs {
            looks.push(self.is_kept(repository, blob, size));
        }
        let kept = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        futures::try_join!(self.is_whole(repository, own), kept).map(|_| ())
    }

    async fn is_whole(&self, repository: &str, manifest: &str) -> Result<(), RegistryError> {
        let doing = self.blob(repository, "read", manifest)?;
        self.retry(|| async {
            match self.one_manifest(&doing).await {
                Ok(Some(_)) => Ok(()),
                // Different bytes under this digest, mostly none.
                Ok(None) | Err(RegistryError::Damaged { .. }) => Err(doing.vanished(manifest)),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn is_kept(&self, repository: &str, blob: &str, size: u64) -> Result<(), RegistryError> {
        let doing = self.blob(repository, "read", blob)?;
        self.retry(|| async {
            if self.holds(&doing, size).await? {
                Ok(())
            } else {
                Err(doing.vanished(blob))
            }
        })
        .await
    }
}

/// Streams a file from its start. It reads by position: when an upload is tried again, the earlier stream may still be
/// reading the same file, and neither may move the other.
pub(super) fn pieces(file: Arc<File>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(0, move |position| {
        let file = Arc::clone(&file);
        async move {
            let read = spawn_blocking(move || {
                let mut piece = vec![0; CHUNK];
                let length = file.read_at(&mut piece, position)?;
                piece.truncate(length);
                Ok::<_, io::Error>(Bytes::from(piece))
            });
            let piece = read.await.map_err(io::Error::other)??;
            let next = position + piece.len() as u64;
            Ok((!piece.is_empty()).then_some((piece, next)))
        }
    })
}
