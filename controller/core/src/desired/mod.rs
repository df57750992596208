//! `desired(&Release, &Live) -> Objects`: the objects that a Release needs to run. One kind in each file.
//!
//! Pure. Which Release runs is decided elsewhere. The same Release always gives the same bytes of a pod template, even
//! if the App has changed since, so that going back to a Release finds its pods again. Each Release names the
//! [`Renderer`], the set of rules, that it was made for, so that a new operator replaces no pod.

mod claim;
mod deployment;
mod escape;
mod live;
mod objects;
mod pod;
mod probe;
pub mod quantity;
mod security;
mod service;
mod service_account;

use slipway_crds::{
    labels,
    v1alpha1::{Release, ReleaseSite},
};

pub use crate::desired::{
    live::{Live, Site, rendered},
    objects::{Applied, Objects, Prepared},
    probe::PROGRAMS,
};

/// The rules by which a Release becomes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renderer {
    /// The first.
    V1,
    /// A liveness check starts only after the process has started; a startup check tries as long as Dokku does; and the
    /// launcher gets the time in which the process has to stop.
    V2,
}

impl Renderer {
    /// The rules of new Releases.
    pub const NEWEST: Self = Self::V2;

    /// The number of these rules in a Release.
    pub const fn version(self) -> i32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    fn of(release: &Release) -> Result<Self, UnknownRenderer> {
        let version = release.spec.renderer;
        let mut all = [Self::V1, Self::V2].into_iter();
        all.find(|renderer| renderer.version() == version)
            .ok_or_else(|| UnknownRenderer {
                release: release.metadata.name.clone().unwrap_or_default(),
                version,
            })
    }
}

/// A newer operator made the Release, by rules that this one does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Release {release} was made for version {version} of the rendering rules, which this operator does not have: bring the operator back to the version that made it"
)]
pub struct UnknownRenderer {
    /// Name of the Release.
    pub release: String,
    /// The number of the rules that it names.
    pub version: i32,
}

/// The objects that `release` needs.
pub fn objects(
    release: &Release,
    live: &Live,
    site: &Site,
) -> Result<Objects<Prepared>, UnknownRenderer> {
    let part = Part {
        release,
        live,
        site,
        renderer: Renderer::of(release)?,
    };
    Ok(Objects::new(
        service_account::service_account(&part),
        claim::claims(&part),
        service::service(&part),
        deployment::deployments(&part),
    ))
}

/// The input of every function that makes an object.
pub(crate) struct Part<'a> {
    pub(crate) release: &'a Release,
    pub(crate) live: &'a Live,
    pub(crate) site: &'a Site,
    pub(crate) renderer: Renderer,
}

impl Part<'_> {
    fn app(&self) -> &str {
        &self.release.spec.app.name
    }

    fn namespace(&self) -> Option<String> {
        self.release.metadata.namespace.clone()
    }

    /// The site's settings for the pods of a process.
    fn pods(&self, process: &str) -> &ReleaseSite {
        let own = self.release.spec.site.as_ref();
        own.or_else(|| self.live.rendered.get(process))
            .unwrap_or(&self.site.pods)
    }

    /// Labels of every object of the App.
    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        labels::of_app(self.app(), &self.release.spec.app.uid)
    }

    /// Owner reference to the App, for objects that are deleted together with it.
    fn owner(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        live::owner(&self.release.spec.app)
    }
}
