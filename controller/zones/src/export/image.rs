//! Run image and what was built → config and manifest of the App's image. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::export::layers::Layer;
use slipway_base::zone::{input::ExportInput, layout, report::BuildReport};
use slipway_remotes::registry::{
    Descriptor, ImageManifest,
    manifest::{OCI_CONFIG, OCI_MANIFEST},
};

/// `PATH`, if the run image sets none. `.profile.d` scripts may add to it.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The image's config. It takes platform and layers from the run image, but not how that image was to be run.
///
/// The `config_vars` of a buildpack's release become environment variables of the image. The App's own variables are
/// set on its pods and override them, and nothing has to be quoted into a script.
pub(super) fn config(
    base: &[u8],
    input: &ExportInput,
    built: &BuildReport,
    layers: &[Layer],
) -> Result<Vec<u8>, String> {
    let diff_ids: Vec<(&str, &str)> = layers
        .iter()
        .map(|layer| (layer.name.as_str(), layer.blob.diff_id.as_str()))
        .collect();
    merge(base, input, built, &diff_ids)
}

fn merge(
    base: &[u8],
    input: &ExportInput,
    built: &BuildReport,
    layers: &[(&str, &str)],
) -> Result<Vec<u8>, String> {
    let base: Map<String, Value> =
        serde_json::from_slice(base).map_err(|error| format!("its config: {error}"))?;
    let created = jiff::Timestamp::from_second(input.source_date_epoch)
        .map_err(|error| error.to_string())?
        .to_string();
    let of_base = base.get("config").cloned().unwrap_or_default();

    let mut labels = strings(of_base.get("Labels"));
    labels.extend(input.labels.clone());
    let env = environment(of_base.get("Env"), input, built);
    let mut diff_ids = layers_of(&base)
        .ok_or("its config names no layers")?
        .clone();
    let mut history = base
        .get("history")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for (name, diff_id) in layers {
        diff_ids.push(json!(diff_id));
        history.push(json!({"created": created, "created_by": "slipway", "comment": name}));
    }
    let mut config = json!({
        "created": created,
        "os": base.get("os").cloned().unwrap_or_else(|| json!("linux")),
        "architecture": base.get("architecture").cloned().ok_or("its config names no processor")?,
        "config": {
            "User": format!("{0}:{0}", input.user_id),
            "WorkingDir": "/app",
            "Entrypoint": [layout::LAUNCHER_IN_IMAGE],
            "Env": env,
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    if let (Some(variant), Some(config)) = (base.get("variant"), config.as_object_mut()) {
        config.insert("variant".to_owned(), variant.clone());
    }
    serde_json::to_vec(&config).map_err(|error| error.to_string())
}

/// The image's variables as `name=value`: those of the run image, then those of the buildpacks, then the platform's.
/// The buildpacks' `PATH` is not taken: it would hide the run image's programs.
fn environment(of_base: Option<&Value>, input: &ExportInput, built: &BuildReport) -> Vec<String> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    for entry in of_base.and_then(Value::as_array).into_iter().flatten() {
        if let Some((name, value)) = entry.as_str().and_then(|entry| entry.split_once('=')) {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    for (name, value) in &built.config_vars {
        if name != "PATH" {
            env.insert(name.clone(), value.clone());
        }
    }
    env.insert("HOME".to_owned(), "/app".to_owned());
    if let Some(stack) = &input.stack_name {
        env.insert("STACK".to_owned(), stack.clone());
    }
    env.iter().map(|(k, v)| format!("{k}={v}")).collect()
}

/// The digests of an image's uncompressed layers, lowest first; empty if the config names none.
pub(super) fn diff_ids(config: &[u8]) -> Vec<String> {
    let config: Map<String, Value> = serde_json::from_slice(config).unwrap_or_default();
    let ids = layers_of(&config).into_iter().flatten();
    ids.map(|id| id.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn layers_of(config: &Map<String, Value>) -> Option<&Vec<Value>> {
    config.get("rootfs")?.get("diff_ids")?.as_array()
}

fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The image's manifest. Layers that a Docker Engine pushed have Docker's media types. They are given OCI's, with the
/// same bytes, because not every client reads a manifest that mixes both.
pub(super) fn manifest(
    base: &ImageManifest,
    config: &str,
    size: u64,
    layers: &[Layer],
) -> ImageManifest {
    let of_base = base.layers.iter().map(|layer| Descriptor {
        media_type: oci(&layer.media_type),
        digest: layer.digest.clone(),
        size: layer.size,
        ..Descriptor::default()
    });
    ImageManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor {
            media_type: OCI_CONFIG.to_owned(),
            digest: config.to_owned(),
            size,
            ..Descriptor::default()
        },
        layers: of_base
            .chain(layers.iter().map(Layer::descriptor))
            .collect(),
        annotations: BTreeMap::new(),
    }
}

fn oci(media_type: &str) -> String {
    match media_type {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
