//! The operator's programs, launcher and prober, in a pod whose image has none of them: an init container brings them.

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, Volume, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};
use slipway_base::zone::layout;
use slipway_crds::v1alpha1::Resources;

use crate::desired::pod::{resources::resources, security};

/// Name of the init container that brings launcher and prober into a pod, and of the volume that holds them.
pub const PROGRAMS: &str = "slipway-programs";
/// Where that volume is mounted.
pub(crate) const PROGRAMS_FOLDER: &str = "/slipway-programs";

/// The init container that brings launcher and prober, out of `image`, into the pod. It has the resources of the
/// container that uses them, so that it changes neither the pod's QoS class nor what a ResourceQuota counts for it.
pub(crate) fn install(image: &str, of_user: Option<&Resources>) -> Container {
    Container {
        name: PROGRAMS.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![
            format!("{}/{}", layout::PROGRAMS, layout::PROBER),
            "--install".to_owned(),
            PROGRAMS_FOLDER.to_owned(),
        ]),
        resources: resources(of_user),
        security_context: Some(security::restricted()),
        volume_mounts: Some(vec![mount(false)]),
        ..Container::default()
    }
}

/// The volume's place in a container.
pub(crate) fn mount(read_only: bool) -> VolumeMount {
    VolumeMount {
        name: PROGRAMS.to_owned(),
        mount_path: PROGRAMS_FOLDER.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The volume that holds them.
pub(crate) fn volume() -> Volume {
    Volume {
        name: PROGRAMS.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(Quantity("32Mi".to_owned())),
            medium: None,
        }),
        ..Volume::default()
    }
}
