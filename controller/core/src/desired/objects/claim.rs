//! PersistentVolumeClaims of the App's storage. They outlive the App and so have no owner, unless their entry in the
//! spec has `reclaimPolicy: Delete`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use slipway_crds::{
    names,
    v1alpha1::{AccessMode, ClaimTemplate, ReclaimPolicy, ReleaseVolume},
};

use crate::desired::{Part, quantity};

pub(crate) fn claims(part: &Part<'_>) -> Vec<PersistentVolumeClaim> {
    let mut seen = BTreeSet::new();
    part.release
        .spec
        .volumes
        .iter()
        // The App no longer has the entry, or the entry names an existing claim: there is nothing to make.
        .filter_map(|volume| Some((volume, part.live.claims.get(&volume.name)?)))
        // The entry may have named an existing claim when the Release was made, and have a template now.
        .filter(|(volume, _)| volume.claim == names::claim(part.app(), &volume.name))
        .filter(|(volume, _)| seen.insert(volume.claim.clone()))
        .map(|(volume, template)| claim(part, volume, template))
        .collect()
}

fn claim(
    part: &Part<'_>,
    volume: &ReleaseVolume,
    template: &ClaimTemplate,
) -> PersistentVolumeClaim {
    let owner_references = match template.reclaim_policy.unwrap_or_default() {
        ReclaimPolicy::Retain => None,
        ReclaimPolicy::Delete => Some(vec![part.owner()]),
    };
    let wanted = quantity::canonical(&template.size);
    let size = match part.live.sizes.get(&volume.claim) {
        Some(size) if quantity::is_more(size, &wanted) => quantity::canonical(size),
        _ => wanted,
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(volume.claim.clone()),
            namespace: part.namespace(),
            labels: Some(part.labels()),
            owner_references,
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec![access_mode(template).to_owned()]),
            storage_class_name: template.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn access_mode(template: &ClaimTemplate) -> &'static str {
    match template.access_mode.unwrap_or_default() {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
        AccessMode::ReadOnlyMany => "ReadOnlyMany",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    }
}
