//! What builders may know besides the Release: what changes without one, and what an administrator has set.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::Resource as _;
use serde::Deserialize;
use slipway_crds::v1alpha1::{
    self as api, AppRef, ClaimTemplate, Quantity, Release, ReleaseProcess, ReleaseSite,
};

use crate::{
    desired::probe::PROGRAMS,
    settings::{ServiceType, Settings},
};

/// What changes without a new Release.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Live {
    /// How many of each process the App's spec asks for, where it does.
    pub replicas: BTreeMap<String, i32>,
    /// Processes whose number something else has set, through the scale subresource of their Deployment.
    pub scaled: BTreeSet<String>,
    /// Numbers that stay as they are, though no spec asks for them any more.
    pub kept: BTreeMap<String, i32>,
    /// Nothing may run: the Release failed and there is none to go back to.
    pub stopped: bool,
    /// Processes that have a Deployment already: it is scaled to none, where none are wanted, and not left out.
    pub deployed: BTreeSet<String>,
    /// Claim templates of the App's storage, by entry.
    pub claims: BTreeMap<String, ClaimTemplate>,
    /// Sizes that claims have already, by claim: a claim never shrinks.
    pub sizes: BTreeMap<String, Quantity>,
    /// The site's settings that pods of this Release were made with, by process, where the Release does not say: those
    /// of now replace none.
    pub rendered: BTreeMap<String, ReleaseSite>,
}

impl Live {
    /// How many of a process have to run; none: whoever scales it knows.
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

/// What an administrator has set, as far as it shows in an App's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What pods show: a Release keeps it as it is when it is made.
    pub pods: ReleaseSite,
    /// Type of web Services. It replaces no pod, and so is what it is now.
    pub service_type: ServiceType,
}

impl Site {
    /// The part of `settings` that shows.
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

/// The site's settings that `pod`, of a process of `release`, was made with. Where it shows none, those of `now` make
/// no difference to it.
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

/// The App as a controlling owner.
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
