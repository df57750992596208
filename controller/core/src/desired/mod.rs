//! `desired(&Release, &Live) -> Objects`: the objects that a Release needs to run.
//!
//! Pure. Which Release runs is decided elsewhere. The same Release always gives the same bytes of a pod template, even
//! if the App has changed since, so that going back to a Release finds its pods again. Each Release names the
//! [`Renderer`], the version of the rules, that it was made for, so that a new operator replaces no pod.
//!
//! | folder | holds |
//! |---|---|
//! | `objects/` | the kinds of objects, one in each file |
//! | `pod/` | the parts of a pod template that all versions have |
//! | `v1/`, `v2/` | a version: how it puts those parts together, and what only it does |
//!
//! A change of the rules that changes the bytes of a pod template is a new version: copy the folder of the newest one,
//! change the copy, and add it to [`Renderer`] as its newest. A part of `pod/` that has to differ is copied into the new
//! folder too, and the old folders keep the old part. The goldens of the older versions do not change.

mod live;
mod objects;
mod pod;
pub mod quantity;
mod v1;
mod v2;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use slipway_crds::{
    labels,
    v1alpha1::{Release, ReleaseSite, ReleaseVolume},
};

pub use crate::desired::{
    live::{Live, Site, rendered},
    objects::{Applied, Found, Holds, Objects, Prepared},
    pod::programs::PROGRAMS,
};
use crate::{
    desired::pod::long_running::Process,
    domain::app::{DEPLOY, STOP},
};

/// A version of the rules by which a Release becomes objects; each has a folder of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renderer {
    /// The first.
    V1,
    /// With checks that are as patient as Dokku's.
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

    /// The pod template of a process.
    fn process(self, process: &Process<'_>) -> PodTemplateSpec {
        match self {
            Self::V1 => v1::process(process),
            Self::V2 => v2::process(process),
        }
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
    Ok(objects::objects(&part))
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

    /// Seconds that a deploy may take.
    fn deploy_limit(&self) -> i32 {
        let limit = self.release.spec.deadlines.deploy.unwrap_or(DEPLOY);
        i32::try_from(limit.as_secs()).unwrap_or(i32::MAX)
    }

    /// Seconds that a process has to stop.
    fn stop_seconds(&self) -> u64 {
        self.release.spec.deadlines.stop.unwrap_or(STOP).as_secs()
    }

    /// The storage that a process sees.
    fn volumes(&self, process: &str) -> impl Iterator<Item = &ReleaseVolume> {
        self.release
            .spec
            .volumes
            .iter()
            .filter(move |v| v.processes.is_empty() || v.processes.iter().any(|p| p == process))
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
