//! Single blobs and manifests: up, down, and from one repository to another.

use std::{
    fs::File,
    io::{Seek, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::HeaderValue;
use oci_client::{errors::OciDistributionError, manifest::OciDescriptor};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::registry::{
    Descriptor, Registry, RegistryError,
    error::is_absent,
    manifest::{ACCEPTED, DOCKER_LIST, ImageManifest, Index, Manifest, OCI_INDEX, digest},
};

/// Most bytes of a manifest or config.
const DOCUMENT: u64 = 4 * 1024 * 1024;
/// Bytes that are read from a file at once.
const CHUNK: usize = 256 * 1024;

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
        self.retry(|| async {
            let mut source = file.try_clone()?;
            source.seek(SeekFrom::Start(0))?;
            let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(source), CHUNK)
                .map_err(OciDistributionError::from);
            self.client
                .push_blob_stream(&reference, stream, &blob.digest, Some(blob.size))
                .await
                .map_err(|error| doing.error(error))
        })
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
        self.retry(|| async {
            let stream = futures::stream::iter([Ok(content.clone())]);
            self.client
                .push_blob_stream(&reference, stream, &blob, Some(size))
                .await
                .map_err(|error| doing.error(error))
        })
        .await?;
        Ok(size)
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
