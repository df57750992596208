//! Single blobs and manifests: pushes them, pulls them, and mounts them in another repository.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom},
    iter,
    os::unix::fs::FileExt as _,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, header};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::AsyncWriteExt,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use crate::registry::{
    Descriptor, Registry, RegistryError,
    error::Doing,
    manifest::{
        ACCEPTED, DOCKER_LIST, ImageManifest, Index, Manifest, OCI_INDEX, digest, is_digest,
        is_plain,
    },
    wire::{Ask, Body, READ},
};

/// How many objects are checked at once.
const AT_ONCE: usize = 4;
/// Bytes that one read of a file takes.
const CHUNK: usize = 256 * 1024;
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
    pub(super) async fn image_in<T: DeserializeOwned>(
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
    pub(super) async fn raw_manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Result<Option<(Bytes, String)>, RegistryError> {
        let doing = self.plain(repository, "read", tag_or_digest)?;
        self.retry(|| self.one_manifest(&doing)).await
    }

    /// One attempt of `raw_manifest`.
    async fn one_manifest(
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

/// Streams a file from its start. It reads by position: when an upload is tried again, the earlier stream may still be
/// reading the same file, and neither may move the other.
fn pieces(file: Arc<File>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
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

#[cfg(test)]
mod tests {
    use super::pieces;
    use crate::registry::{Descriptor, Registry, manifest::digest, wire::READ};
    use futures::{StreamExt as _, TryStreamExt as _};
    use slipway_base::zone::input::RegistryAccess;
    use std::{fs::File, io::Write as _, sync::Arc, time::Duration};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time,
    };

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn two_streams_of_a_file_do_not_disturb_each_other() {
        let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let file = file(&content);
        let mut dropped = Box::pin(pieces(Arc::clone(&file)));
        dropped.next().await.unwrap().unwrap();
        let mut whole = Box::pin(pieces(file));
        let mut read = whole.next().await.unwrap().unwrap().to_vec();
        dropped.next().await.unwrap().unwrap();
        for piece in whole.try_collect::<Vec<_>>().await.unwrap() {
            read.extend_from_slice(&piece);
        }
        assert!(read == content);
    }

    /// A registry that takes longer to accept a blob than an answer may take. Returns how many bytes arrived.
    async fn slow(listener: TcpListener) -> usize {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let head = loop {
                let count = stream.read_buf(&mut request).await.unwrap();
                assert!(count > 0, "the client has given up");
                if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
                    break String::from_utf8(request.drain(..end + 4).collect()).unwrap();
                }
            };
            let answer = match head.split(' ').next().unwrap() {
                "HEAD" => "404 Not Found",
                "POST" => "202 Accepted\r\nLocation: /v2/a/blobs/uploads/1",
                "PUT" => {
                    time::pause();
                    time::advance(READ + Duration::from_secs(5)).await;
                    time::resume();
                    let length = head
                        .to_ascii_lowercase()
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                        .unwrap();
                    while request.len() < length {
                        let count = stream.read_buf(&mut request).await.unwrap();
                        assert!(count > 0, "the client has given up");
                    }
                    "201 Created\r\nLocation: /v2/a/blobs/1"
                }
                _ => "200 OK",
            };
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.contains("201") {
                return request.len();
            }
        }
    }

    #[tokio::test]
    async fn an_upload_may_take_longer_than_an_answer() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut registry = Registry::new(&RegistryAccess {
            address: listener.local_addr().unwrap().to_string(),
            username: None,
            password: None,
            ca_pem: None,
            insecure: true,
        })
        .unwrap();
        registry.attempts = 1;
        let content = vec![7; 4 << 20];
        let blob = Descriptor {
            digest: digest(&content),
            size: content.len() as u64,
            ..Descriptor::default()
        };
        let file = file(&content);
        let upload = registry.push_file("a", &blob, &file);
        let (came, sent) = tokio::join!(slow(listener), upload);
        assert_eq!((came, sent.unwrap()), (content.len(), blob.size));
    }
}
