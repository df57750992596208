//! Records of an App and the history limit → the records that the operator may delete. Pure.
//!
//! The operator always keeps the serving, newest and running records, and all records that those were made from.

use std::{cmp::Reverse, collections::BTreeSet};

use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Build, BuildPhase, Release, ReleasePhase, Revision};

use crate::{
    decide::release,
    order::{self, place},
};

/// The records that exist.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Revisions of the App.
    pub revisions: &'a [Revision],
    /// Builds of the App.
    pub builds: &'a [Build],
    /// Releases of the App.
    pub releases: &'a [Release],
    /// Names of the Secrets with the App's config snapshots.
    pub configs: &'a BTreeSet<String>,
    /// Name of the Revision that is wanted now.
    pub revision: Option<&'a str>,
    /// Name of the Build that is wanted now.
    pub build: Option<&'a str>,
    /// Name of the Secret with the config that is wanted now.
    pub config: Option<&'a str>,
    /// How many ended Builds and how many superseded Releases are kept.
    pub limit: usize,
}

/// Names of the objects that the operator may delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// Releases.
    pub releases: Vec<String>,
    /// Builds.
    pub builds: Vec<String>,
    /// Revisions.
    pub revisions: Vec<String>,
    /// Secrets.
    pub configs: Vec<String>,
}

/// Decides which records the operator may delete.
pub fn retired(input: &Input<'_>) -> Retired {
    let releases = kept_releases(input);
    let builds = kept_builds(input, &releases);
    let revisions = kept_revisions(input, &releases, &builds);
    let configs: BTreeSet<&str> = releases
        .iter()
        .map(|release| release.spec.config_secret.as_str())
        .chain(input.config)
        .collect();
    let kept_releases: BTreeSet<String> = releases.iter().map(|r| r.name_any()).collect();
    let kept_builds: BTreeSet<String> = builds.iter().map(|b| b.name_any()).collect();
    Retired {
        releases: names_but(input.releases, &kept_releases),
        builds: names_but(input.builds, &kept_builds),
        revisions: names_but(input.revisions, &revisions),
        configs: input
            .configs
            .iter()
            .filter(|name| !configs.contains(name.as_str()))
            .cloned()
            .collect(),
    }
}

fn names_but<K: kube::Resource>(objects: &[K], kept: &BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = objects
        .iter()
        .map(kube::ResourceExt::name_any)
        .filter(|name| !kept.contains(name))
        .collect();
    names.sort_unstable();
    names
}

/// The objects for which `stays` is true, and the first `limit` of the others.
fn kept<K>(newest_first: Vec<&K>, limit: usize, stays: impl Fn(&K) -> bool) -> Vec<&K> {
    let mut others = 0;
    newest_first
        .into_iter()
        .filter(|object| {
            let stays = stays(object);
            others += usize::from(!stays);
            stays || others <= limit
        })
        .collect()
}

fn kept_releases<'a>(input: &Input<'a>) -> Vec<&'a Release> {
    let newest = release::newest(input.releases).map(|r| r.spec.number);
    let target = release::target(input.releases).map(|r| r.spec.number);
    let mut sorted: Vec<&Release> = input.releases.iter().collect();
    sorted.sort_by_key(|r| Reverse(r.spec.number));
    kept(sorted, input.limit, |r| {
        let number = Some(r.spec.number);
        let lives = matches!(
            release::phase(r),
            ReleasePhase::Serving | ReleasePhase::Deploying
        );
        lives || number == newest || number == target
    })
}

fn kept_builds<'a>(input: &Input<'a>, releases: &[&Release]) -> Vec<&'a Build> {
    let good = input.builds.iter();
    let good = good.filter(|b| phase(b) == BuildPhase::Succeeded);
    let newest_good = order::newest(good).map(kube::ResourceExt::name_any);
    let always: BTreeSet<String> = releases
        .iter()
        .filter_map(|r| r.spec.build.clone())
        .chain(input.build.map(str::to_owned))
        .chain(order::newest(input.builds).map(kube::ResourceExt::name_any))
        .chain(newest_good)
        .collect();
    let mut sorted: Vec<&Build> = input.builds.iter().collect();
    sorted.sort_by_key(|b| Reverse(place(*b)));
    kept(sorted, input.limit, |b| {
        !phase(b).is_over() || always.contains(&b.name_any())
    })
}

fn phase(build: &Build) -> BuildPhase {
    build
        .status
        .as_ref()
        .map_or(BuildPhase::Pending, |status| status.phase)
}

fn kept_revisions(input: &Input<'_>, releases: &[&Release], builds: &[&Build]) -> BTreeSet<String> {
    let newest = order::newest(input.revisions).map(kube::ResourceExt::name_any);
    releases
        .iter()
        .map(|r| r.spec.revision.clone())
        .chain(builds.iter().map(|b| b.spec.revision.clone()))
        .chain(input.revision.map(str::to_owned))
        .chain(newest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Input, Retired, retired};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use slipway_crds::v1alpha1::{
        Build, BuildPhase, BuildSpec, BuildStatus, Release, ReleasePhase, ReleaseSpec,
        ReleaseStatus, Revision, RevisionSpec,
    };
    use std::collections::BTreeSet;

    fn at(second: usize) -> Time {
        Time(jiff::Timestamp::from_second(i64::try_from(second).unwrap()).unwrap())
    }

    fn builds(phases: &[BuildPhase]) -> Vec<Build> {
        let build = |(i, phase): (usize, &BuildPhase)| {
            let spec = BuildSpec {
                revision: format!("r{i}"),
                ..BuildSpec::default()
            };
            let mut build = Build::new(&format!("b{i}"), spec);
            build.metadata.creation_timestamp = Some(at(i));
            build.status = Some(BuildStatus {
                phase: *phase,
                ..BuildStatus::default()
            });
            build
        };
        phases.iter().enumerate().map(build).collect()
    }

    fn revisions(count: usize) -> Vec<Revision> {
        let revision = |i| {
            let mut revision = Revision::new(&format!("r{i}"), RevisionSpec::default());
            revision.metadata.creation_timestamp = Some(at(i));
            revision
        };
        (0..count).map(revision).collect()
    }

    fn releases(list: &[(ReleasePhase, usize)]) -> Vec<Release> {
        let release = |(i, (phase, build)): (usize, &(ReleasePhase, usize))| {
            let spec = ReleaseSpec {
                number: i64::try_from(i).unwrap() + 1,
                build: Some(format!("b{build}")),
                revision: format!("r{build}"),
                config_secret: format!("c{i}"),
                ..ReleaseSpec::default()
            };
            let mut release = Release::new(&format!("v{}", i + 1), spec);
            release.status = Some(ReleaseStatus {
                phase: *phase,
                ..ReleaseStatus::default()
            });
            release
        };
        list.iter().enumerate().map(release).collect()
    }

    #[test]
    fn within_the_limit_nothing_goes() {
        use {BuildPhase as B, ReleasePhase as R};
        let (builds, releases) = (
            builds(&[B::Succeeded, B::Failed]),
            releases(&[(R::Serving, 0)]),
        );
        let configs = BTreeSet::from(["c0".to_owned()]);
        let found = retired(&Input {
            revisions: &revisions(2),
            builds: &builds,
            releases: &releases,
            configs: &configs,
            revision: None,
            build: None,
            config: None,
            limit: 10,
        });
        assert_eq!(found, Retired::default());
    }

    #[test]
    fn the_oldest_go_and_what_is_used_stays() {
        use {BuildPhase as B, ReleasePhase as R};
        // v2 still serves; the four after it failed.
        let releases = releases(&[
            (R::Superseded, 0),
            (R::Serving, 1),
            (R::Failed, 2),
            (R::Failed, 3),
            (R::Failed, 4),
            (R::Failed, 5),
        ]);
        let builds = builds(&[
            B::Succeeded,
            B::Succeeded,
            B::Succeeded,
            B::Failed,
            B::Failed,
            B::Succeeded,
            B::Building,
        ]);
        let configs = ["c0", "c1", "c2", "c3", "c4", "c5", "new", "stray"]
            .map(str::to_owned)
            .into();
        let found = retired(&Input {
            revisions: &revisions(8),
            builds: &builds,
            releases: &releases,
            configs: &configs,
            revision: Some("r6"),
            build: Some("b6"),
            config: Some("new"),
            limit: 1,
        });
        // v6 is the newest, v5 is kept by the limit of one, v2 serves.
        assert_eq!(found.releases, ["v1", "v3", "v4"]);
        // Releases name b1, b4 and b5; b6 runs; b3 is kept by the limit of one.
        assert_eq!(found.builds, ["b0", "b2"]);
        assert_eq!(found.revisions, ["r0", "r2"]);
        assert_eq!(found.configs, ["c0", "c2", "c3", "stray"]);
    }
}
