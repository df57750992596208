//! `Stack`: what builds and runs apps.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::v1alpha1::Artifact;

/// A build image, a run image and the bundled buildpacks, all by digest.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "slipway.dev",
    version = "v1alpha1",
    kind = "Stack",
    category = "slipway",
    doc = "A build image, a run image and the bundled buildpacks, all by digest.",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(name = "Stack", type_ = "string", json_path = ".spec.stackName"),
    printcolumn(
        name = "Build",
        type_ = "string",
        json_path = ".spec.buildImage.digest",
        priority = 1
    ),
    printcolumn(
        name = "Run",
        type_ = "string",
        json_path = ".spec.runImage.digest",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct StackSpec {
    /// What buildpacks find in `STACK`, for example `heroku-24`. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub stack_name: Option<String>,
    /// Image in which buildpacks run.
    pub build_image: Artifact,
    /// Image on which apps run.
    pub run_image: Artifact,
    /// User (and group) that builds and apps run as. Both images have to have it. Default: 32767.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub user_id: Option<i64>,
    /// The bundled buildpacks, in detection order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub packs: Vec<StackPack>,
}

/// A bundled buildpack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StackPack {
    /// Name by which an App may ask for it.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its folder, as an artifact.
    #[serde(flatten)]
    pub artifact: Artifact,
}
