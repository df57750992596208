//! Single blobs and manifests: up, down, and from one repository to another.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt as _,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::HeaderValue;
use oci_client::{Reference, errors::OciDistributionError, manifest::OciDescriptor};
use tokio::{io::AsyncWriteExt, task::spawn_blocking, time::timeout};

use crate::registry::{
    Descriptor, Registry, RegistryError,
    error::{Doing, is_absent},
    manifest::{ACCEPTED, DOCKER_LIST, ImageManifest, Index, Manifest, OCI_INDEX, digest},
};

/// Most bytes of a manifest or config.
const DOCUMENT: u64 = 4 * 1024 * 1024;
/// Bytes that are read from a file at once.
const CHUNK: usize = 256 * 1024;
/// Longest time of an upload, besides what its bytes may take.
const UPLOAD: Duration = Duration::from_mins(2);
/// Bytes a second that an upload has to make.
const SLOWEST: u64 = 100_000;

impl Registry {
    /// Whether the repository has this blob.
    pub async fn blob_exists(&self, repository: &str, blob: &str) -> Result<bool, RegistryError> {
        let reference = self.repository(repository).await;
        let doing = self.doing(repository, "read", blob);
        self.retry(|| async {
            self.client
                .blob_exists(&reference, blob)
                .await
                .map_err(|error| doing.error(error))
        })
        .await
    }

    /// Uploads a file from its begin, unless the repository has it. Tells how many bytes were uploaded.
    pub async fn push_file(
        &self,
        repository: &str,
        blob: &Descriptor,
        file: &Arc<File>,
    ) -> Result<u64, RegistryError> {
        if self.blob_exists(repository, &blob.digest).await? {
            return Ok(0);
        }
        let reference = self.repository(repository).await;
        let doing = self.doing(repository, "write", &blob.digest);
        self.retry(|| self.upload(&reference, &doing, pieces(Arc::clone(file)), blob.size))
            .await?;
        Ok(blob.size)
    }

    /// Uploads some bytes, unless the repository has them. Tells how many bytes were uploaded.
    pub async fn push_bytes(
        &self,
        repository: &str,
        content: &Bytes,
    ) -> Result<u64, RegistryError> {
        let blob = digest(content);
        if self.blob_exists(repository, &blob).await? {
            return Ok(0);
        }
        let reference = self.repository(repository).await;
        let doing = self.doing(repository, "write", &blob);
        let size = content.len() as u64;
        self.retry(|| {
            let content = stream::iter([Ok(content.clone())]);
            self.upload(&reference, &doing, content, size)
        })
        .await?;
        Ok(size)
    }

    /// One try to upload what `doing` is about.
    async fn upload(
        &self,
        reference: &Reference,
        doing: &Doing<'_>,
        content: impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static,
        size: u64,
    ) -> Result<(), RegistryError> {
        let most = UPLOAD + Duration::from_secs(size / SLOWEST);
        let upload = self
            .uploads
            .push_blob_stream(reference, content, doing.what, Some(size));
        match timeout(most, upload).await {
            Ok(done) => done.map(drop).map_err(|error| doing.error(error)),
            Err(_) => Err(RegistryError::Slow {
                registry: self.address.clone(),
                repository: doing.repository.to_owned(),
                size,
                seconds: most.as_secs(),
            }),
        }
    }

    /// Makes a blob of one repository known in another one of the same registry, without moving its bytes where the
    /// registry can do that. Tells how many bytes were uploaded.
    pub async fn mount(
        &self,
        from: &str,
        to: &str,
        blob: &Descriptor,
    ) -> Result<u64, RegistryError> {
        if from == to || self.blob_exists(to, &blob.digest).await? {
            return Ok(0);
        }
        let (source, target) = (self.repository(from).await, self.repository(to).await);
        let doing = self.doing(to, "write", &blob.digest);
        let mounted = self
            .retry(|| async {
                match self.client.mount_blob(&target, &source, &blob.digest).await {
                    Ok(()) => Ok(true),
                    // "Accepted" instead of "Created": the registry wants the bytes.
                    Err(OciDistributionError::SpecViolationError(_)) => Ok(false),
                    Err(error) => Err(doing.error(error)),
                }
            })
            .await?;
        if mounted {
            return Ok(0);
        }
        let file = self.pull_file(from, blob).await?;
        self.push_file(to, blob, &Arc::new(file)).await
    }

    /// Writes a manifest under a tag, or under its digest if there is none. Tells its digest.
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
        let reference = self.tagged(repository, tag.unwrap_or(&own));
        self.repository(repository).await;
        let doing = self.doing(repository, "write", tag.unwrap_or(&own));
        let content_type = HeaderValue::from_str(&manifest.media_type)
            .map_err(|error| doing.invalid("manifest", error))?;
        let body = Bytes::from(body);
        self.retry(|| async {
            self.client
                .push_manifest_raw(&reference, body.clone(), content_type.clone())
                .await
                .map_err(|error| doing.error(error))
        })
        .await?;
        Ok(own)
    }

    /// The manifest under a tag or digest, `None` if there is none. Of an index, the image of this machine's platform.
    pub async fn manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Result<Option<Manifest>, RegistryError> {
        let Some((body, own)) = self.raw_manifest(repository, tag_or_digest).await? else {
            return Ok(None);
        };
        let doing = self.doing(repository, "read", tag_or_digest);
        let kind: Kind =
            serde_json::from_slice(&body).map_err(|error| doing.invalid("manifest", error))?;
        if !kind.is_index() {
            let image =
                serde_json::from_slice(&body).map_err(|error| doing.invalid("manifest", error))?;
            return Ok(Some(Manifest { digest: own, image }));
        }
        let index: Index =
            serde_json::from_slice(&body).map_err(|error| doing.invalid("index", error))?;
        let entry = index
            .ours()
            .ok_or_else(|| doing.invalid("image for this platform", "no entry for it"))?;
        let Some((body, own)) = self.raw_manifest(repository, &entry.digest).await? else {
            return Ok(None);
        };
        let image =
            serde_json::from_slice(&body).map_err(|error| doing.invalid("manifest", error))?;
        Ok(Some(Manifest { digest: own, image }))
    }

    /// A manifest's bytes and digest, whatever it is of.
    pub(super) async fn raw_manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Result<Option<(Bytes, String)>, RegistryError> {
        let reference = self.tagged(repository, tag_or_digest);
        let doing = self.doing(repository, "read", tag_or_digest);
        self.retry(|| async {
            match self
                .client
                .pull_manifest_raw(&reference, &self.auth, ACCEPTED)
                .await
            {
                // The digest that the registry names is believed only if it is that of the bytes.
                Ok((body, _)) => {
                    let own = digest(&body);
                    if tag_or_digest.starts_with("sha256:") && own != tag_or_digest {
                        return Err(doing.damaged());
                    }
                    Ok(Some((body, own)))
                }
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(doing.error(error)),
            }
        })
        .await
    }

    /// A blob as an unnamed temporary file, checked against digest and size, at its begin.
    pub async fn pull_file(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> Result<File, RegistryError> {
        let reference = self.repository(repository).await;
        let doing = self.doing(repository, "read", &blob.digest);
        // Other addresses that a manifest may name are never followed.
        let layer = OciDescriptor {
            digest: blob.digest.clone(),
            ..OciDescriptor::default()
        };
        self.retry(|| async {
            let mut stream = self
                .client
                .pull_blob_stream(&reference, &layer)
                .await
                .map_err(|error| doing.error(error))?;
            let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
            let mut size = 0_u64;
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| doing.stream(&error))?;
                size = size.saturating_add(chunk.len() as u64);
                if size > blob.size {
                    return Err(doing.damaged());
                }
                file.write_all(&chunk).await?;
            }
            file.flush().await?;
            if size != blob.size {
                return Err(doing.damaged());
            }
            let mut file = file.into_std().await;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        })
        .await
    }

    /// A small blob's bytes: configs.
    pub async fn pull_bytes(
        &self,
        repository: &str,
        blob: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let doing = self.doing(repository, "read", &blob.digest);
        if blob.size > DOCUMENT {
            return Err(doing.invalid("document", format!("{} bytes are too many", blob.size)));
        }
        let file = self.pull_file(repository, blob).await?;
        let mut bytes = Vec::new();
        let mut file = tokio::fs::File::from_std(file);
        tokio::io::AsyncReadExt::read_to_end(&mut file, &mut bytes).await?;
        Ok(bytes)
    }
}

/// A file from its begin. Read by position: another stream of the same file, which may still be at work when an upload
/// is tried again, neither moves this one nor is moved by it.
fn pieces(
    file: Arc<File>,
) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static {
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

/// Tells an index from a manifest, also where the media type is left out.
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
    use crate::{
        registry::{Descriptor, READ, Registry, manifest::digest},
        zone::input::RegistryAccess,
    };
    use futures::{StreamExt as _, TryStreamExt as _};
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

    /// A registry that takes a blob and lets more time pass than an answer may take; answers how many bytes came.
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
