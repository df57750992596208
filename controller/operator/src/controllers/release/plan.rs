//! App, its Releases and what runs → which Release has to run, and its objects. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::PersistentVolumeClaim,
};
use kube::ResourceExt as _;
use slipway_crds::{
    labels,
    v1alpha1::{App, Quantity, Release, ReleaseSite},
};

use crate::controllers::release::{observed::Observed, scaling};
pub(crate) use slipway_core::decide::release::phase;
use slipway_core::{
    decide::release,
    desired::{self, Live, Objects, Prepared, Site, UnknownRenderer},
};

/// Which Release has to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Target<'a> {
    /// The Release.
    pub(crate) release: &'a Release,
    /// Nothing of it may run: it failed, and there is no Release to go back to. What shows the cause stays.
    pub(crate) stopped: bool,
    /// If the operator goes back to `release`: the newer Release that failed.
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

/// What has to be done; `None` if there is no Release.
pub(crate) fn plan<'a>(
    app: &App,
    observed: &'a Observed,
    site: &Site,
) -> Result<Option<Plan<'a>>, UnknownRenderer> {
    let Some(target) = target(&observed.releases) else {
        return Ok(None);
    };
    let live = live(app, observed, target, site);
    let objects = desired::objects(target.release, &live, site)?;
    Ok(Some(Plan { target, objects }))
}

/// Which Release has to run.
pub(crate) fn target(releases: &[Release]) -> Option<Target<'_>> {
    let newest = release::newest(releases)?;
    let good = release::target(releases);
    Some(Target {
        release: good.unwrap_or(newest),
        stopped: good.is_none(),
        back_from: good
            .is_some_and(|good| good.spec.number < newest.spec.number)
            .then_some(newest),
    })
}

/// Whether some process still has the pod template of another Release.
pub(crate) fn goes_back(observed: &Observed, target: Target<'_>) -> bool {
    let number = target.release.spec.number.to_string();
    observed
        .objects
        .deployments
        .iter()
        .any(|deployment| deployment.labels().get(labels::RELEASE) != Some(&number))
}

fn live(app: &App, observed: &Observed, target: Target<'_>, site: &Site) -> Live {
    let process_of = |deployment: &Deployment| deployment.labels().get(labels::PROCESS).cloned();
    Live {
        replicas: app
            .spec
            .processes
            .iter()
            .filter_map(|(name, process)| Some((name.clone(), process.replicas?)))
            .collect(),
        scaled: scaling::scaled(&observed.objects.deployments),
        kept: scaling::kept(observed, target.release),
        stopped: target.stopped,
        deployed: observed
            .objects
            .deployments
            .iter()
            .filter_map(process_of)
            .collect(),
        claims: app
            .spec
            .storage
            .iter()
            .filter_map(|storage| Some((storage.name.clone(), storage.claim_template.clone()?)))
            .collect(),
        sizes: observed.objects.claims.iter().filter_map(size).collect(),
        rendered: rendered(&observed.replica_sets, target.release, site),
    }
}

fn size(claim: &PersistentVolumeClaim) -> Option<(String, Quantity)> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some((
        claim.name_any(),
        Quantity(requests.get("storage")?.0.clone()),
    ))
}

/// By process, the site's settings that this Release's ReplicaSets were made with, for a Release that does not record
/// them. If there are several ReplicaSets, the oldest counts: a younger one was made after a manual edit.
fn rendered(sets: &[ReplicaSet], release: &Release, site: &Site) -> BTreeMap<String, ReleaseSite> {
    if release.spec.site.is_some() {
        return BTreeMap::new();
    }
    let number = release.spec.number.to_string();
    let mut ours: Vec<&ReplicaSet> = sets
        .iter()
        .filter(|set| set.labels().get(labels::RELEASE) == Some(&number))
        .collect();
    // When there are several for a process, the last in this order counts.
    ours.sort_by_key(|set| Reverse(set.creation_timestamp()));
    ours.into_iter()
        .filter_map(|set| {
            let pod = set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?;
            let process = set.labels().get(labels::PROCESS)?;
            let settings = desired::rendered(pod, release, process, &site.pods);
            Some((process.clone(), settings))
        })
        .collect()
}

/// Names of the claims that are not deleted: those that the App's storage or the running Release names.
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
    use slipway_core::settings::ServiceType;
    use slipway_crds::v1alpha1::{ReleasePhase, ReleaseSpec, ReleaseStatus};

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
    fn settings_stay_those_that_the_release_began_with() {
        let set = |name: &str, hour: i32, release: &str, image: &str| -> ReplicaSet {
            serde_json::from_value(serde_json::json!({
                "metadata": {
                    "name": name, "creationTimestamp": format!("2026-01-01T0{hour}:00:00Z"),
                    "labels": {"slipway.dev/release": release, "slipway.dev/process": "web"},
                },
                "spec": {"selector": {}, "template": {"spec": {"containers": [
                    {"name": "web", "image": image, "lifecycle": {"preStop": {"sleep": {"seconds": 7}}}},
                ]}}},
            }))
            .unwrap()
        };
        let sets = [
            set("a", 2, "2", "edited/hello@sha256:2"),
            set("b", 1, "2", "ours:5000/hello@sha256:2"),
            set("c", 0, "1", "older/hello@sha256:2"),
        ];
        let mut two = release(2, ReleasePhase::Serving, true);
        two.spec.image.reference = "hello@sha256:2".to_owned();
        let site = Site {
            pods: ReleaseSite {
                registry: "now".to_owned(),
                pull_secret: Some("now".to_owned()),
                program_image: "now".to_owned(),
                drain_seconds: 1,
            },
            service_type: ServiceType::ClusterIp,
        };
        let then = ReleaseSite {
            registry: "ours:5000".to_owned(),
            pull_secret: None,
            program_image: "now".to_owned(),
            drain_seconds: 7,
        };
        let found = rendered(&sets, &two, &site);
        assert_eq!(found, BTreeMap::from([("web".to_owned(), then)]));
        // A Release that records its settings uses its own.
        two.spec.site = Some(site.pods.clone());
        assert_eq!(rendered(&sets, &two, &site), BTreeMap::new());
    }

    #[test]
    fn a_release_that_failed_is_stopped_or_gone_back_from() {
        use ReleasePhase::{Deploying, Failed, Serving};
        type Case<'a> = (&'a [(ReleasePhase, bool)], Option<(i64, bool, Option<i64>)>);
        let cases: [Case; 4] = [
            (&[], None),
            (
                &[(Serving, true), (Deploying, false)],
                Some((2, false, None)),
            ),
            (
                &[(Serving, true), (Failed, false)],
                Some((1, false, Some(2))),
            ),
            (&[(Failed, false), (Failed, false)], Some((2, true, None))),
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
