//! The export zone: a built volume → an image and a cache in the registry.
//!
//! The volume is untrusted: code in the build zone may have written anything. Export executes nothing on it, follows no
//! link on it, and limits and checks its result file. It needs no Docker Engine: layers go straight to the registry,
//! and the same tree gives the same digest.

mod cache;
mod error;
mod image;
mod layers;
mod result;

use std::{path::PathBuf, sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    archive::Known,
    console::{Console, size},
    disk,
};
pub use error::ExportError;
use layers::Layer;
use slipway_base::zone::{
    input::{Artifact, ExportInput},
    layout,
    report::{BuildReport, ExportReport, Failure, Timing, exit},
};
use slipway_remotes::registry::{Content, ImageManifest, Registry, manifest::digest};

/// How many layers are sent at once.
const AT_ONCE: usize = 4;

/// Where things are in the export zone's container.
#[derive(Clone, Debug)]
pub struct Places {
    /// The volume.
    pub workspace: PathBuf,
    /// The static programs.
    pub programs: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            workspace: layout::WORKSPACE.into(),
            programs: layout::PROGRAMS.into(),
        }
    }
}

/// Writes image and cache. Returns the report and the exit code of the zone.
pub async fn run(input: &ExportInput, places: &Places, console: &Console) -> (ExportReport, u8) {
    let mut report = ExportReport::default();
    let last = cache::last(input).await;
    // The cache is packed while the image's layers are packed, and stored only after the image.
    let both = async {
        futures::join!(
            export(input, places, &last.layers, console, &mut report),
            cache::pack(input, places, &last)
        )
    };
    let reserve = input.disk_reserve_bytes;
    let done = disk::within("export", &places.workspace, reserve, Box::pin(both)).await;
    let exported = done
        .map_err(ExportError::from)
        .and_then(|(image, cache)| Ok((image?, cache)));
    let (image, cache) = match exported {
        Ok(exported) => exported,
        Err(error) => {
            let message = error.to_string();
            console.error(&message);
            report.failure = Some(Failure {
                step: "export".to_owned(),
                pack: None,
                exit_code: None,
                message,
            });
            return (report, error.code());
        }
    };
    // The image is stored. A cache that is lost only makes the next build slower.
    let started = Instant::now();
    let stored = match cache {
        Ok(blob) => cache::push(input, &blob, &image.digest, &last).await,
        Err(error) => Err(error),
    };
    match stored {
        Ok(None) => {}
        Ok(Some(bytes)) => console.detail(&format!("Cache of the build stored ({})", size(bytes))),
        Err(error) => console.warning(&format!(
            "The cache of the build could not be stored, the next one starts without: {error}"
        )),
    }
    report.timings.push(timing("cache", started));
    report.image = Some(image);
    (report, exit::OK)
}

fn timing(step: &str, started: Instant) -> Timing {
    Timing {
        step: step.to_owned(),
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn export(
    input: &ExportInput,
    places: &Places,
    known: &Arc<Known>,
    console: &Console,
    report: &mut ExportReport,
) -> Result<Artifact, ExportError> {
    console.heading("Exporting the image");
    let built = result::read(&places.workspace)?;
    let registry = Registry::new(&input.registry)?.patient();
    let started = Instant::now();
    let (base, own) = futures::join!(
        RunImage::read(&registry, input),
        layers::make(input, places, known)
    );
    let (base, own) = (base?, own?);
    report.timings.push(timing("layers", started));
    for layer in &own {
        tell_of_layer(layer, console);
    }
    let started = Instant::now();
    let (image, uploaded) = upload(&registry, input, &built, &base, &own).await?;
    report.timings.push(timing("upload", started));
    report.uploaded_bytes = uploaded;
    console.detail(&format!(
        "Image {}, {} uploaded",
        image.digest,
        size(uploaded)
    ));
    Ok(image)
}

/// Says how large a layer is, and what was left out of it.
fn tell_of_layer(layer: &Layer, console: &Console) {
    let packed = match layer.blob.file {
        Some(_) => format!("{} packed", size(layer.blob.size)),
        None => "as in the last image".to_owned(),
    };
    console.detail(&format!(
        "{}: {} files, {packed}",
        layer.name, layer.blob.entries
    ));
    let left_out = &layer.blob.left_out;
    for path in &left_out.first {
        console.warning(&format!(
            "{} is no file, folder or link: left out of the image",
            path.display()
        ));
    }
    let more = left_out.count - left_out.first.len() as u64;
    if more > 0 {
        console.warning(&format!("{more} more of this kind are left out"));
    }
}

/// Sends layers, config and, last, the manifest. Returns the image and how many bytes were sent.
async fn upload(
    registry: &Registry,
    input: &ExportInput,
    built: &BuildReport,
    base: &RunImage,
    own: &[Layer],
) -> Result<(Artifact, u64), ExportError> {
    let repository = input.repository.as_str();
    let mounted: u64 = stream::iter(&base.manifest.layers)
        .map(|layer| registry.mount(&input.run_image.repository, repository, layer))
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
        .await?;
    let pushed: u64 = stream::iter(own)
        .map(|layer| async {
            registry
                .push_content(repository, &layer.descriptor(), &Content::from(&layer.blob))
                .await
        })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
        .await?;
    let config = image::config(&base.config, input, built, own).map_err(|message| {
        ExportError::RunImage {
            image: named(&input.run_image),
            message,
        }
    })?;
    let config = Bytes::from(config);
    let manifest = image::manifest(&base.manifest, &digest(&config), config.len() as u64, own);
    let written = registry.push_bytes(repository, &config).await?;
    let digest = registry
        .push_manifest(repository, Some(&input.image_tag), &manifest)
        .await?;
    let image = Artifact {
        repository: input.repository.clone(),
        digest,
    };
    Ok((image, mounted + pushed + written))
}

fn named(image: &Artifact) -> String {
    format!("{}@{}", image.repository, image.digest)
}

/// The image under the App's layers.
struct RunImage {
    manifest: ImageManifest,
    config: Vec<u8>,
}

impl RunImage {
    async fn read(registry: &Registry, input: &ExportInput) -> Result<Self, ExportError> {
        let manifest = registry.artifact(&input.run_image).await?;
        let config = registry
            .pull_bytes(&input.run_image.repository, &manifest.config)
            .await?;
        Ok(Self { manifest, config })
    }
}
