//! App, its Releases and what runs → which Release has to run, and its objects. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PersistentVolumeClaim,
};
use kube::ResourceExt as _;
use slipway_crds::{
    labels,
    v1alpha1::{App, Quantity, Release, ReleasePhase},
};

use crate::{
    controllers::release::observe::Observed,
    desired::{self, Live, Objects, PROGRAMS, Prepared, Site, UnknownRenderer},
};

/// Which Release has to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target<'a> {
    /// The Release.
    pub(crate) release: &'a Release,
    /// Nothing of it may run: it failed, and there is none to go back to. What shows why stays.
    pub(crate) stopped: bool,
    /// The newer one that failed, where this is the way back.
    pub(crate) back_from: Option<&'a Release>,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan<'a> {
    /// Which Release has to run.
    pub(crate) target: Target<'a>,
    /// Its objects.
    pub(crate) objects: Objects<Prepared>,
}

/// What has to be done; nothing where there is no Release.
pub(crate) fn plan<'a>(
    app: &App,
    observed: &'a Observed,
    site: &Site,
) -> Result<Option<Plan<'a>>, UnknownRenderer> {
    let Some(target) = target(&observed.releases) else {
        return Ok(None);
    };
    let live = live(app, observed, target);
    let objects = desired::objects(target.release, &live, site)?;
    Ok(Some(Plan { target, objects }))
}

/// The newest Release, unless it has failed: then the last that served. One that was overtaken before it had served
/// is not good: nobody knows whether it would have passed. `releases` are in the order of their numbers.
pub(crate) fn target(releases: &[Release]) -> Option<Target<'_>> {
    let newest = releases.last()?;
    if phase(newest) != ReleasePhase::Failed {
        return Some(Target {
            release: newest,
            stopped: false,
            back_from: None,
        });
    }
    let good = releases
        .iter()
        .rev()
        .find(|release| phase(release) != ReleasePhase::Failed && has_served(release));
    Some(Target {
        release: good.unwrap_or(newest),
        stopped: good.is_none(),
        back_from: good.map(|_| newest),
    })
}

/// Whether some process still has the pod template of another Release.
pub(crate) fn goes_back(observed: &Observed, target: Target<'_>) -> bool {
    let number = target.release.spec.number.to_string();
    observed
        .deployments
        .iter()
        .any(|deployment| deployment.labels().get(labels::RELEASE) != Some(&number))
}

/// Where a Release is.
pub(crate) fn phase(release: &Release) -> ReleasePhase {
    release.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

fn has_served(release: &Release) -> bool {
    release
        .status
        .as_ref()
        .is_some_and(|status| status.deployed_at.is_some())
}

fn live(app: &App, observed: &Observed, target: Target<'_>) -> Live {
    let process_of = |deployment: &Deployment| deployment.labels().get(labels::PROCESS).cloned();
    Live {
        replicas: app
            .spec
            .processes
            .iter()
            .filter_map(|(name, process)| Some((name.clone(), process.replicas?)))
            .collect(),
        stopped: target.stopped,
        deployed: observed.deployments.iter().filter_map(process_of).collect(),
        claims: app
            .spec
            .storage
            .iter()
            .filter_map(|storage| Some((storage.name.clone(), storage.claim_template.clone()?)))
            .collect(),
        sizes: observed.claims.iter().filter_map(size).collect(),
        program_images: program_images(&observed.replica_sets, target.release),
    }
}

fn size(claim: &PersistentVolumeClaim) -> Option<(String, Quantity)> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some((
        claim.name_any(),
        Quantity(requests.get("storage")?.0.clone()),
    ))
}

/// The image of our programs in ReplicaSets of this Release, by process; the newest set's where there are several.
fn program_images(sets: &[ReplicaSet], release: &Release) -> BTreeMap<String, String> {
    let number = release.spec.number.to_string();
    let mut ours: Vec<&ReplicaSet> = sets
        .iter()
        .filter(|set| set.labels().get(labels::RELEASE) == Some(&number))
        .collect();
    ours.sort_by_key(|set| set.creation_timestamp());
    ours.into_iter()
        .filter_map(|set| {
            let pod = set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?;
            let mut init = pod.init_containers.iter().flatten();
            let image = init.find(|c| c.name == PROGRAMS)?.image.clone()?;
            Some((set.labels().get(labels::PROCESS)?.clone(), image))
        })
        .collect()
}

/// Claims that go with their entry in the App's storage: those that the App controls and neither the App nor the
/// Release that runs names.
pub(crate) fn wanted_claims(app: &App, release: &Release) -> BTreeSet<String> {
    let of_app = app
        .spec
        .storage
        .iter()
        .map(|storage| slipway_crds::names::claim(&release.spec.app.name, &storage.name));
    let of_release = release
        .spec
        .volumes
        .iter()
        .map(|volume| volume.claim.clone());
    of_app.chain(of_release).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use slipway_crds::v1alpha1::{ReleaseSpec, ReleaseStatus};

    fn release(number: i64, phase: ReleasePhase, served: bool) -> Release {
        let spec = ReleaseSpec {
            number,
            ..ReleaseSpec::default()
        };
        let mut release = Release::new(&format!("hello-v{number}"), spec);
        release.status = Some(ReleaseStatus {
            phase,
            deployed_at: served.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ReleaseStatus::default()
        });
        release
    }

    #[test]
    fn the_newest_that_has_not_failed_runs_else_the_last_that_served() {
        use ReleasePhase::{Deploying, Failed, Pending, Serving, Superseded};
        type Case<'a> = (&'a [(ReleasePhase, bool)], Option<(i64, bool, Option<i64>)>);
        let cases: [Case; 9] = [
            (&[], None),
            (&[(Pending, false)], Some((1, false, None))),
            (
                &[(Serving, true), (Deploying, false)],
                Some((2, false, None)),
            ),
            (
                &[(Serving, true), (Failed, false)],
                Some((1, false, Some(2))),
            ),
            (
                &[(Superseded, true), (Serving, true), (Failed, false)],
                Some((2, false, Some(3))),
            ),
            // Overtaken before it had served.
            (
                &[(Serving, true), (Superseded, false), (Failed, false)],
                Some((1, false, Some(3))),
            ),
            (
                &[(Serving, true), (Failed, false), (Failed, false)],
                Some((1, false, Some(3))),
            ),
            (&[(Failed, false), (Failed, false)], Some((2, true, None))),
            (&[(Failed, false), (Pending, false)], Some((2, false, None))),
        ];
        for (phases, expected) in cases {
            let releases: Vec<Release> = phases
                .iter()
                .zip(1..)
                .map(|((phase, served), number)| release(number, *phase, *served))
                .collect();
            let found = target(&releases).map(|target| {
                (
                    target.release.spec.number,
                    target.stopped,
                    target.back_from.map(|r| r.spec.number),
                )
            });
            assert_eq!(found, expected, "{phases:?}");
        }
    }
}
