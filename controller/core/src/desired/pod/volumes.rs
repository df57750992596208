//! The App's storage in a pod.

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Volume, VolumeMount};
use slipway_crds::v1alpha1::ReleaseVolume;

/// Where the container sees it.
pub(crate) fn mount(volume: &ReleaseVolume) -> VolumeMount {
    VolumeMount {
        name: name(volume),
        mount_path: volume.mount_path.clone(),
        sub_path: volume.sub_path.clone(),
        read_only: volume.read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The claim, as a volume of the pod.
pub(crate) fn volume(volume: &ReleaseVolume) -> Volume {
    Volume {
        name: name(volume),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: volume.claim.clone(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

/// The prefix keeps the name of a storage entry apart from the volume of the operator's programs.
fn name(volume: &ReleaseVolume) -> String {
    format!("storage-{}", volume.name)
}
