//! An image of a Docker Engine → the registry. The engine need not reach or trust the registry.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use bollard::{API_DEFAULT_VERSION, Docker};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use slipway_crds::v1alpha1::Artifact;
use tar::{Archive, EntryType};
use tokio::io::AsyncWriteExt;

use slipway_remotes::registry::{
    Descriptor, ImageManifest, Registry,
    manifest::{OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, digest},
};
use slipway_zones::{
    archive::compress,
    console::{Console, size},
};

/// Longest wait for the engine's next answer, in seconds. The export of a large image takes a while to begin.
const TIMEOUT: u64 = 300;

/// Publishes an image, or finds it in the registry.
pub(super) async fn publish(
    registry: &Registry,
    docker: &str,
    image: &str,
    repository: &str,
    console: &Console,
) -> anyhow::Result<Artifact> {
    if let Some((repository, wanted)) = image.split_once('@') {
        let manifest = registry.manifest(repository, wanted).await?;
        manifest.context("the registry does not have this image")?;
        return Ok(Artifact {
            repository: repository.to_owned(),
            digest: wanted.to_owned(),
        });
    }
    let engine = connect(docker)?;
    let id = engine
        .inspect_image(image)
        .await
        .with_context(|| format!("the engine at {docker} does not have this image: make it first"))?
        .id
        .context("the engine does not tell the image's id")?;
    let artifact = |digest| Artifact {
        repository: repository.to_owned(),
        digest,
    };
    let tag = crate::cli::stack::tag(&id);
    // An engine's image id is the digest of the image's config, so it shows whether the image is published already.
    if let Some(manifest) = registry.manifest(repository, &tag).await?
        && manifest.image.config.digest == id
    {
        console.detail(&format!("{image}: unchanged"));
        return Ok(artifact(manifest.digest));
    }
    let file = save(&engine, image).await?;
    let Saved { config, layers } = tokio::task::spawn_blocking(move || read(file)).await??;
    if digest(&config) != id {
        bail!("the engine exports another image than it names");
    }
    let mut descriptors = vec![];
    let mut sent = 0;
    for layer in layers {
        let blob = tokio::task::spawn_blocking(move || {
            let Layer { mut file, at, size } = layer;
            file.seek(SeekFrom::Start(at))?;
            compress(file.take(size))
        })
        .await??;
        let descriptor = Descriptor {
            media_type: OCI_LAYER_GZIP.to_owned(),
            digest: blob.digest.clone(),
            size: blob.size,
            ..Descriptor::default()
        };
        sent += registry
            .push_content(repository, &descriptor, &(&blob).into())
            .await?;
        descriptors.push(descriptor);
    }
    let config_size = config.len() as u64;
    registry
        .push_bytes(repository, &Bytes::from(config))
        .await?;
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor {
            media_type: OCI_CONFIG.to_owned(),
            digest: id,
            size: config_size,
            ..Descriptor::default()
        },
        layers: descriptors,
        annotations: BTreeMap::new(),
    };
    let digest = registry
        .push_manifest(repository, Some(&tag), &manifest)
        .await?;
    console.detail(&format!("{image}: {digest}, {} sent", size(sent)));
    Ok(artifact(digest))
}

fn connect(address: &str) -> anyhow::Result<Docker> {
    let client = match address.split_once("://") {
        Some(("unix", path)) => Docker::connect_with_unix(path, TIMEOUT, API_DEFAULT_VERSION),
        Some(("tcp" | "http", _)) => {
            Docker::connect_with_http(address, TIMEOUT, API_DEFAULT_VERSION)
        }
        _ => bail!("{address} is not an engine's address, such as unix:///path or tcp://host:port"),
    };
    client.with_context(|| format!("cannot reach the engine at {address}"))
}

async fn save(engine: &Docker, image: &str) -> anyhow::Result<File> {
    let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
    // An engine older than the client refuses the client's API version, but says which version it has.
    let engine = engine.clone().negotiate_version().await?;
    let mut stream = std::pin::pin!(engine.export_image(image));
    while let Some(chunk) = stream.next().await {
        file.write_all(&chunk?).await?;
    }
    file.flush().await?;
    Ok(file.into_std().await)
}

struct Saved {
    config: Vec<u8>,
    layers: Vec<Layer>,
}

/// Where a layer's uncompressed archive is within the exported file.
struct Layer {
    file: Arc<File>,
    at: u64,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

enum Part {
    File { at: u64, size: u64 },
    Link(PathBuf),
}

/// Finds config and layers in the engine's export.
fn read(file: File) -> anyhow::Result<Saved> {
    let file = Arc::new(file);
    (&*file).seek(SeekFrom::Start(0))?;
    let mut parts = BTreeMap::new();
    let mut archive = Archive::new(&*file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let part = match entry.header().entry_type() {
            EntryType::Regular => Part::File {
                at: entry.raw_file_position(),
                size: entry.size(),
            },
            // Engines write the second copy of a layer as a link.
            EntryType::Symlink => match entry.link_name()? {
                Some(target) => {
                    Part::Link(plain(&path.parent().unwrap_or(Path::new("")).join(target)))
                }
                None => continue,
            },
            _ => continue,
        };
        parts.insert(path, part);
    }
    let find = |path: &Path| -> anyhow::Result<(u64, u64)> {
        let mut path = path.to_owned();
        for _ in 0..3 {
            match parts.get(&path) {
                Some(Part::File { at, size }) => return Ok((*at, *size)),
                Some(Part::Link(target)) => path.clone_from(target),
                None => break,
            }
        }
        bail!("the engine's export has no {}", path.display())
    };
    let bytes = |path: &Path| -> anyhow::Result<Vec<u8>> {
        let (at, size) = find(path)?;
        let mut bytes = vec![];
        (&*file).seek(SeekFrom::Start(at))?;
        (&*file).take(size.min(16 << 20)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let entries: Vec<Entry> = serde_json::from_slice(&bytes(Path::new("manifest.json"))?)?;
    let entry = entries
        .into_iter()
        .next()
        .context("the engine's export is empty")?;
    let config = bytes(&entry.config)?;
    let layers = entry
        .layers
        .iter()
        .map(|path| {
            let (at, size) = find(path)?;
            Ok(Layer {
                file: Arc::clone(&file),
                at,
                size,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Saved { config, layers })
}

/// Resolves `..` in a path.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}
