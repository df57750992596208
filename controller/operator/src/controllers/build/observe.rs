//! Cluster and engine → [`Observed`]. Reads only.

use kube::Api;
use slipway_crds::{
    labels,
    v1alpha1::{Build, BuildStatus},
};

use crate::controllers::build::{BuildError, Builds};
use slipway_core::build::zones::Zones;
use slipway_core::build::{
    next::{Cancel, Observed, Turn},
    queue::{self, Entry},
};
use slipway_driver::contract::Driver;
use slipway_k8s::classify::found;

impl<D: Driver> Builds<D> {
    /// The Build as it is now: the cached one may be older than our last write, and is incomplete. `None` if it is
    /// gone. A Build to which nothing more will be written is taken from the cache.
    pub(super) async fn current(&self, cached: &Build) -> Result<Option<Build>, BuildError> {
        let status = cached.status.as_ref();
        let never_begun = |s: &BuildStatus| s.phase.is_over() && s.started_at.is_none();
        if status.is_some_and(|s| s.log.is_some() || never_begun(s)) {
            return Ok(Some(cached.clone()));
        }
        let name = cached.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Build> = self.api(cached);
        let live = found(api.get(name).await).map_err(BuildError::read)?;
        Ok(live.filter(|live| live.metadata.uid == cached.metadata.uid))
    }

    /// What is known of a Build.
    pub(super) async fn observe(&self, build: &Build) -> Result<Observed, BuildError> {
        let status = build.status.as_ref();
        let archived = status.is_some_and(|s| s.log.is_some());
        let never_begun = status.is_some_and(|s| s.phase.is_over() && s.started_at.is_none());
        let zones = if archived || never_begun {
            Zones::NONE
        } else {
            let uid = build.metadata.uid.as_deref().unwrap_or_default();
            self.driver.observe(uid).await?
        };
        let entries = self.entries();
        let me = Entry::of(build);
        let requested = build
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(labels::CANCEL))
            .is_some_and(|value| value == "true");
        let cancel = if requested {
            Some(Cancel::Requested)
        } else {
            me.as_ref()
                .and_then(|me| queue::overtaken_by(me, &entries))
                .map(|by| Cancel::Superseded { by })
        };
        let turn = me.map_or(Turn::Now, |me| self.turn(&me, &entries));
        Ok(Observed {
            now: (self.clock)(),
            zones,
            cancel,
            turn,
        })
    }
}
