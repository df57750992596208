//! What a pod may do on its node: Pod Security "restricted", or "baseline" where the App says so.

use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, SeccompProfile, SecurityContext,
};
use slipway_crds::v1alpha1::{PodSecurity, ReleaseImage};

/// Group of volumes if the image's own group is not known. Any number works as long as it never changes.
const VOLUME_GROUP: i64 = 32767;

pub(crate) fn pod(
    security: PodSecurity,
    image: &ReleaseImage,
    volumes: bool,
) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: (security == PodSecurity::Restricted).then_some(true),
        run_as_user: image.user_id,
        // In images that Slipway built, user and group have the same number. Other images have theirs in /etc/passwd.
        run_as_group: image.user_id.filter(|_| !image.external),
        fs_group: volumes.then(|| image.user_id.filter(|id| *id > 0).unwrap_or(VOLUME_GROUP)),
        // Otherwise the kubelet changes the owner of every file of the volume at each start.
        fs_group_change_policy: volumes.then(|| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

pub(crate) fn container(security: PodSecurity) -> Option<SecurityContext> {
    match security {
        PodSecurity::Restricted => Some(restricted()),
        PodSecurity::Baseline => None,
    }
}

/// The security context of the operator's own containers.
pub(crate) fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}
