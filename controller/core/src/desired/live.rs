//! The input of objects besides the Release: what changes without a new Release, and the administrator's settings.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::Resource as _;
use serde::Deserialize;
use slipway_crds::v1alpha1::{
    self as api, AppRef, ClaimTemplate, Quantity, Release, ReleaseProcess, ReleaseSite,
};

use crate::{
    desired::pod::programs::PROGRAMS,
    settings::{ServiceType, Settings},
};

/// What changes without a new Release.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Live {
    /// Replicas that the App's spec sets, by process.
    pub replicas: BTreeMap<String, i32>,
    /// Processes whose replicas an autoscaler or a user has set, through the scale subresource of their Deployment.
    pub scaled: BTreeSet<String>,
    /// Replicas, by process, that stay as they are although the spec no longer sets them.
    pub kept: BTreeMap<String, i32>,
    /// Whether all processes are scaled to 0: the Release failed and there is none to go back to.
    pub stopped: bool,
    /// Processes that have a Deployment already. If they should not run, it is scaled to 0 and not deleted.
    pub deployed: BTreeSet<String>,
    /// Claim templates of the App's storage, by name of the entry.
    pub claims: BTreeMap<String, ClaimTemplate>,
    /// Present sizes of claims, by name of the claim: a claim never shrinks.
    pub sizes: BTreeMap<String, Quantity>,
    /// The site's settings that pods of this Release were made with, by process, if the Release does not record them.
    /// They are kept, so that today's settings replace no pod.
    pub rendered: BTreeMap<String, ReleaseSite>,
}

impl Live {
    /// How many replicas the operator sets for a process; `None` if something else scales it.
    pub fn wanted(&self, name: &str, process: &ReleaseProcess) -> Option<i32> {
        if self.stopped {
            return Some(0);
        }
        if let Some(named) = self.replicas.get(name) {
            return Some(*named);
        }
        let own = || self.kept.get(name).copied().unwrap_or(process.replicas);
        (!self.scaled.contains(name)).then(own)
    }
}

/// The administrator's settings that are part of an App's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Settings that are part of pods. A new Release records them, and keeps them.
    pub pods: ReleaseSite,
    /// Type of web Services. A change replaces no pod, so it takes effect at once.
    pub service_type: ServiceType,
}

impl Site {
    /// The part of `settings` that objects contain.
    pub fn of(settings: &Settings) -> Self {
        Self {
            pods: ReleaseSite {
                registry: settings.registry.pull_address.clone(),
                pull_secret: settings.registry.pull_secret.clone(),
                program_image: settings.image_for_nodes.clone(),
                drain_seconds: settings.apps.drain_seconds.max(0),
            },
            service_type: settings.apps.service_type,
        }
    }
}

/// The site's settings that `pod`, of a process of `release`, was made with. If the pod does not show a registry or a
/// program image, those of `now` are returned: they make no difference to it.
pub fn rendered(pod: &PodSpec, release: &Release, process: &str, now: &ReleaseSite) -> ReleaseSite {
    let image = &release.spec.image;
    let container = pod.containers.iter().find(|c| c.name == process);
    let registry = container.and_then(|container| {
        let address = container.image.as_deref()?.strip_suffix(&image.reference)?;
        address.strip_suffix('/').map(str::to_owned)
    });
    let own = image.pull_secret_ref.as_ref().map(|secret| &secret.name);
    let mut secrets = pod.image_pull_secrets.iter().flatten();
    let pull_secret = secrets.find(|secret| Some(&secret.name) != own);
    let mut programs = pod.init_containers.iter().flatten();
    let programs = programs.find(|container| container.name == PROGRAMS);
    let drain = container.and_then(|container| {
        let stop = container.lifecycle.as_ref()?.pre_stop.as_ref()?;
        Some(stop.sleep.as_ref()?.seconds)
    });
    ReleaseSite {
        registry: registry.unwrap_or_else(|| now.registry.clone()),
        pull_secret: pull_secret.map(|secret| secret.name.clone()),
        program_image: programs
            .and_then(|container| container.image.clone())
            .unwrap_or_else(|| now.program_image.clone()),
        drain_seconds: drain.unwrap_or_default(),
    }
}

/// Owner reference to the App as the controller.
pub(crate) fn owner(app: &AppRef) -> OwnerReference {
    OwnerReference {
        api_version: api::App::api_version(&()).into_owned(),
        kind: api::App::kind(&()).into_owned(),
        name: app.name.clone(),
        uid: app.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
