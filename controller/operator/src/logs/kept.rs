//! A kept log → its compressed bytes from the registry.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use slipway_crds::v1alpha1::Artifact;
use tokio_util::io::ReaderStream;

use crate::logs::source::{Archive, Pieces, SourceError};
use slipway_base::zone::input;
use slipway_remotes::registry::{Registry, RegistryError};

/// The registry that keeps logs.
pub struct Kept(Arc<Registry>);

impl Kept {
    /// Reads logs from this registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }
}

impl Archive for Kept {
    async fn open(&self, artifact: &Artifact) -> Result<Pieces, SourceError> {
        let unreadable = |error: RegistryError| SourceError::Registry(Box::new(error));
        let artifact = input::Artifact {
            repository: artifact.repository.clone(),
            digest: artifact.digest.clone(),
        };
        let manifest = self.0.artifact(&artifact).await.map_err(unreadable)?;
        let Some(layer) = manifest.layers.first() else {
            return Ok(stream::empty().boxed());
        };
        let file = self
            .0
            .pull_file(&artifact.repository, layer)
            .await
            .map_err(unreadable)?;
        let pieces = ReaderStream::new(tokio::fs::File::from_std(file));
        Ok(pieces
            .map(|piece| piece.map_err(SourceError::Damaged))
            .boxed())
    }
}
