//! Artifacts: sources, buildpacks, caches and logs. Each is a manifest whose layers are not those of an image.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use bytes::Bytes;

use crate::registry::{
    Descriptor, ImageManifest, Registry, RegistryError,
    manifest::{EMPTY, OCI_MANIFEST, digest},
};
use slipway_base::zone::input::Artifact;

/// One layer of an artifact to be pushed.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Media type.
    pub media_type: String,
    /// Its bytes.
    pub content: Content,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Where the bytes of a layer come from.
#[derive(Clone, Debug)]
pub enum Content {
    /// From memory, for small content.
    Bytes(Bytes),
    /// From a file, read from its start.
    File {
        /// The file.
        file: Arc<File>,
        /// `sha256:…`.
        digest: String,
        /// In bytes.
        size: u64,
    },
    /// The repository already has them.
    Stored {
        /// `sha256:…`.
        digest: String,
        /// In bytes.
        size: u64,
    },
}

impl Layer {
    fn descriptor(&self) -> Descriptor {
        let (digest, size) = match &self.content {
            Content::Bytes(bytes) => (digest(bytes), bytes.len() as u64),
            Content::File { digest, size, .. } | Content::Stored { digest, size } => {
                (digest.clone(), *size)
            }
        };
        Descriptor {
            media_type: self.media_type.clone(),
            digest,
            size,
            annotations: self.annotations.clone(),
            platform: None,
        }
    }
}

impl Registry {
    /// Uploads the layers that the repository does not have. Returns how many bytes were uploaded.
    pub async fn push_content(
        &self,
        repository: &str,
        descriptor: &Descriptor,
        content: &Content,
    ) -> Result<u64, RegistryError> {
        match content {
            Content::Bytes(bytes) => self.push_bytes(repository, bytes).await,
            Content::File { file, .. } => self.push_file(repository, descriptor, file).await,
            Content::Stored { .. } => Ok(0),
        }
    }

    /// Pushes an artifact under a tag. The same content always gives the same digest.
    pub async fn push_artifact(
        &self,
        repository: &str,
        tag: &str,
        artifact_type: &str,
        layers: &[Layer],
        annotations: BTreeMap<String, String>,
    ) -> Result<Artifact, RegistryError> {
        for layer in layers {
            self.push_content(repository, &layer.descriptor(), &layer.content)
                .await?;
        }
        let empty = Bytes::from_static(b"{}");
        self.push_bytes(repository, &empty).await?;
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            config: Descriptor {
                media_type: EMPTY.to_owned(),
                digest: digest(&empty),
                size: empty.len() as u64,
                ..Descriptor::default()
            },
            layers: layers.iter().map(Layer::descriptor).collect(),
            annotations,
        };
        let digest = self.push_manifest(repository, Some(tag), &manifest).await?;
        Ok(Artifact {
            repository: repository.to_owned(),
            digest,
        })
    }

    /// The manifest of an artifact; fails if there is none.
    pub async fn artifact(&self, artifact: &Artifact) -> Result<ImageManifest, RegistryError> {
        self.manifest(&artifact.repository, &artifact.digest)
            .await?
            .map(|manifest| manifest.image)
            .ok_or_else(|| RegistryError::NotFound {
                registry: self.address().to_owned(),
                what: format!("{}@{}", artifact.repository, artifact.digest),
            })
    }
}
