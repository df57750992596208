//! What builders may know besides the Release: what changes without one, and what an administrator has set.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use serde::Deserialize;
use slipway_crds::v1alpha1::{self as api, AppRef, ClaimTemplate, Quantity, ReleaseProcess};

use crate::settings::{ServiceType, Settings};

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
    /// The image of our programs in pods of this Release that exist, by process: an upgrade of the operator replaces
    /// none.
    pub program_images: BTreeMap<String, String>,
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
    /// `host:port` in images of ours.
    pub registry: String,
    /// Secret with which they are pulled.
    pub pull_secret: Option<String>,
    /// Image that holds our programs.
    pub program_image: String,
    /// Type of web Services.
    pub service_type: ServiceType,
    /// Seconds between a pod's leaving the endpoints and SIGTERM.
    pub drain_seconds: i64,
}

impl Site {
    /// The part of `settings` that shows.
    pub fn of(settings: &Settings) -> Self {
        Self {
            registry: settings.registry.pull_address.clone(),
            pull_secret: settings.registry.pull_secret.clone(),
            program_image: settings.image_for_nodes.clone(),
            service_type: settings.apps.service_type,
            drain_seconds: settings.apps.drain_seconds,
        }
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
