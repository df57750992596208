//! What should run, and the App's Releases → the wanted Release: an existing one, or a new one and its cause. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipway_crds::conditions::{Reason, types};
use slipway_crds::v1alpha1::{
    Check, Deadlines, PodSecurity, Release, ReleaseImage, ReleasePhase, ReleaseProcess,
    ReleaseSite, ReleaseSpec, ReleaseVolume, Resources,
};

use crate::{
    decide::chain::{Rule, all, named},
    domain::env::Config,
};

/// The input of [`verdict`].
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What should run; its number, cause and inputs are ignored.
    pub draft: &'a ReleaseSpec,
    /// Its config.
    pub config: &'a Config,
    /// The App's Releases.
    pub releases: &'a [Release],
    /// Config of earlier Releases by name of the Secret, if the Secret still exists.
    pub configs: &'a BTreeMap<String, Config>,
    /// Whether a user asked for another try.
    pub retry: bool,
    /// Whether a user asked for a Release with the operator's present rules and settings.
    pub rerender: bool,
    /// The highest number that the App's status records, even if that Release no longer exists.
    pub last: Option<i64>,
    /// The current time.
    pub now: Timestamp,
}

/// Delay before a Release that failed because the registry was unavailable is made again: after the first such failure
/// in a row, the second, and so on. After the last, only a request makes it again.
const RETRY_AFTER: [SignedDuration; 5] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(15),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(3),
];

/// Which Release is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// This existing Release, whether it serves or failed.
    Exists(&'a Release),
    /// A new Release.
    Make {
        /// Its number.
        number: i64,
        /// Why it is made.
        cause: String,
        /// Hash of its inputs.
        inputs: String,
    },
}

/// The inputs whose change makes a new Release. A new field must be skipped when it is empty, or every hash changes.
#[derive(Serialize)]
struct Hashed<'a> {
    image: &'a ReleaseImage,
    config_secret: &'a str,
    processes: BTreeMap<&'a str, HashedProcess<'a>>,
    port: i32,
    volumes: &'a [ReleaseVolume],
    deadlines: &'a Deadlines,
    pod_security: PodSecurity,
}

/// A process without its replicas, whose change makes no Release.
#[derive(Serialize)]
struct HashedProcess<'a> {
    command: Option<&'a str>,
    resources: Option<&'a Resources>,
    checks: &'a [Check],
}

/// Hash of everything in `spec` whose change makes a new Release.
pub fn inputs(spec: &ReleaseSpec) -> String {
    let ReleaseSpec {
        app: _,
        number: _,
        cause: _,
        inputs: _,
        // An upgrade of the operator moves no pod.
        renderer: _,
        // The same image from another commit is the same image.
        revision: _,
        revision_id: _,
        build: _,
        image,
        config_secret,
        processes,
        port,
        volumes,
        deadlines,
        pod_security,
        // Nor does a change of settings, until a user asks for a new Release.
        site: _,
    } = spec;
    let processes = processes
        .iter()
        .map(|(name, process)| {
            let ReleaseProcess {
                command,
                replicas: _,
                resources,
                checks,
            } = process;
            let hashed = HashedProcess {
                command: command.as_deref(),
                resources: resources.as_ref(),
                checks,
            };
            (name.as_str(), hashed)
        })
        .collect();
    let hashed = Hashed {
        image,
        config_secret,
        processes,
        port: *port,
        volumes,
        deadlines,
        pod_security: *pod_security,
    };
    // Plain data always has a JSON form.
    let json = serde_json::to_vec(&hashed).unwrap_or_default();
    let mut hash = hex::encode(Sha256::digest(json));
    hash.truncate(40);
    hash
}

/// The Release with the highest number.
pub fn newest(releases: &[Release]) -> Option<&Release> {
    releases.iter().max_by_key(|release| release.spec.number)
}

/// The Release that should run: the newest, or, if that has failed, the last that served. A Release that was superseded
/// before it served does not count, as nobody knows whether its checks would have passed.
pub fn target(releases: &[Release]) -> Option<&Release> {
    let newest = newest(releases)?;
    if phase(newest) != ReleasePhase::Failed {
        return Some(newest);
    }
    releases
        .iter()
        .filter(|release| has_served(release))
        .max_by_key(|release| release.spec.number)
}

/// The phase of a Release.
pub fn phase(release: &Release) -> ReleasePhase {
    release.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

/// Whether a Release has served once and has not failed since.
fn has_served(release: &Release) -> bool {
    let status = release.status.as_ref();
    match phase(release) {
        ReleasePhase::Failed => false,
        ReleasePhase::Serving => true,
        ReleasePhase::Pending | ReleasePhase::Deploying | ReleasePhase::Superseded => {
            status.is_some_and(|status| status.deployed_at.is_some())
        }
    }
}

/// Decides which Release is wanted.
pub fn verdict<'a>(input: &Input<'a>) -> Verdict<'a> {
    let wanted = inputs(input.draft);
    let newest = newest(input.releases);
    let fits =
        |release: &Release| release.spec.inputs == wanted && !is_rendered_anew(release, input);
    if let Some(newest) = newest {
        // The newest Release failed, and the one that serves instead is what the App asks for now. If both have the
        // wanted inputs, the one with the present settings of the site is wanted.
        if let Some(target) = target(input.releases)
            && target.spec.number < newest.spec.number
            && fits(target)
            && (newest.spec.inputs != wanted
                || (has_settings_of_now(target, input) && !has_settings_of_now(newest, input)))
        {
            return Verdict::Exists(target);
        }
        if fits(newest) && !is_retried(newest, input) {
            return Verdict::Exists(newest);
        }
    }
    Verdict::Make {
        number: newest
            .map(|newest| newest.spec.number)
            .max(input.last)
            .unwrap_or_default()
            .saturating_add(1),
        cause: cause(input, newest),
        inputs: wanted,
    }
}

/// Whether a failed Release is made again: if there is another Build, which a user asked for; on request, if nothing is
/// built; or by itself, if the registry was unavailable.
fn is_retried(newest: &Release, input: &Input<'_>) -> bool {
    phase(newest) == ReleasePhase::Failed
        && (newest.spec.build != input.draft.build
            || (input.draft.build.is_none() && input.retry)
            || retry_at(input.releases).is_some_and(|at| at <= input.now))
}

/// When the operator makes the newest Release again by itself, because it failed only for an unavailable registry.
/// Pruned Releases count as such tries, as nothing is known of them.
pub fn retry_at(releases: &[Release]) -> Option<Timestamp> {
    let newest = newest(releases)?;
    let failed_at = wanted_registry(newest)?;
    let is_try = |release: &&Release| {
        release.spec.inputs == newest.spec.inputs && wanted_registry(release).is_some()
    };
    let before = releases.iter().filter(|release| !is_try(release));
    let before = before.map(|release| release.spec.number).max();
    let in_a_row = newest.spec.number.checked_sub(before.unwrap_or_default())?;
    let wait = RETRY_AFTER.get(usize::try_from(in_a_row.checked_sub(1)?).ok()?)?;
    failed_at.checked_add(*wait).ok()
}

/// When a Release failed because the registry was unavailable; `None` if it did not.
fn wanted_registry(release: &Release) -> Option<Timestamp> {
    let status = release.status.as_ref()?;
    let ready = status.conditions.iter().find(|c| c.type_ == types::READY)?;
    let reason = &status.failure.as_ref()?.reason;
    let wanted =
        phase(release) == ReleasePhase::Failed && *reason == Reason::RegistryUnavailable.as_str();
    wanted.then_some(ready.last_transition_time.0)
}

/// Whether a user's request for the present rules and settings makes the Release again: if it was made with other rules
/// or settings, or if it failed, as the cause may have been corrected outside of them.
fn is_rendered_anew(release: &Release, input: &Input<'_>) -> bool {
    let is_of_now =
        release.spec.site == input.draft.site && release.spec.renderer == input.draft.renderer;
    input.rerender && (!is_of_now || phase(release) == ReleasePhase::Failed)
}

fn has_settings_of_now(release: &Release, input: &Input<'_>) -> bool {
    match (&release.spec.site, &input.draft.site) {
        (Some(own), Some(now)) => changed_settings(own, now).is_empty(),
        (own, now) => own == now,
    }
}

/// Names of the settings that differ. The image of the operator's programs is left out: it changes with every version
/// of the operator, and no administrator decided it.
pub fn changed_settings(before: &ReleaseSite, now: &ReleaseSite) -> Vec<&'static str> {
    let ReleaseSite {
        registry,
        pull_secret,
        program_image: _,
        drain_seconds,
    } = before;
    [
        ("registry address", *registry != now.registry),
        ("pull secret", *pull_secret != now.pull_secret),
        ("drain time", *drain_seconds != now.drain_seconds),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

fn cause(input: &Input<'_>, newest: Option<&Release>) -> String {
    let Some(newest) = newest else {
        return format!("first release, of {}", input.draft.revision_id);
    };
    let change = Change {
        before: &newest.spec,
        now: input.draft,
        config: input.config,
        config_before: input.configs.get(&newest.spec.config_secret),
    };
    let mut causes = all(&causes(), &change);
    if causes.is_empty() {
        causes.push(if phase(newest) == ReleasePhase::Failed {
            format!("another try of v{}", newest.spec.number)
        } else if input.rerender {
            "rerender requested".to_owned()
        } else {
            "what runs changed".to_owned()
        });
    }
    // The schema allows no more.
    causes.join("; ").chars().take(1000).collect()
}

struct Change<'a> {
    before: &'a ReleaseSpec,
    now: &'a ReleaseSpec,
    config: &'a Config,
    config_before: Option<&'a Config>,
}

impl Change<'_> {
    /// Names of processes for which `of` has changed. Added and removed processes are left out.
    fn processes<T: PartialEq>(&self, of: impl Fn(&ReleaseProcess) -> T) -> Vec<&str> {
        self.now
            .processes
            .iter()
            .filter(|(name, now)| {
                let before = self.before.processes.get(*name);
                before.is_some_and(|before| of(before) != of(now))
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Names of processes that are only in `a`.
fn only_in<'a>(a: &'a ReleaseSpec, b: &ReleaseSpec) -> Vec<&'a str> {
    a.processes
        .keys()
        .filter(|name| !b.processes.contains_key(*name))
        .map(String::as_str)
        .collect()
}

fn some(what: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("{what}: {}", named(names.iter().copied())))
}

fn causes<'a>() -> [Rule<Change<'a>, String>; 14] {
    [
        Rule {
            name: "image",
            says: |c| {
                (c.before.image.reference != c.now.image.reference).then(|| {
                    if c.now.image.external {
                        format!("new image {}", c.now.revision_id)
                    } else if c.before.revision_id == c.now.revision_id {
                        format!("new image from commit {}, built again", c.now.revision_id)
                    } else {
                        format!("new image from commit {}", c.now.revision_id)
                    }
                })
            },
        },
        Rule {
            name: "config",
            says: |c| {
                if c.before.config_secret == c.now.config_secret {
                    return None;
                }
                let names = c
                    .config_before
                    .map(|before| c.config.changed_names(before))
                    .unwrap_or_default();
                some("config changed", &names).or_else(|| Some("config changed".to_owned()))
            },
        },
        Rule {
            name: "processes_added",
            says: |c| some("processes added", &only_in(c.now, c.before)),
        },
        Rule {
            name: "processes_removed",
            says: |c| some("processes removed", &only_in(c.before, c.now)),
        },
        Rule {
            name: "commands",
            says: |c| some("commands changed", &c.processes(|p| p.command.clone())),
        },
        Rule {
            name: "resources",
            says: |c| some("resources changed", &c.processes(|p| p.resources.clone())),
        },
        Rule {
            name: "checks",
            says: |c| some("checks changed", &c.processes(|p| p.checks.clone())),
        },
        Rule {
            name: "port",
            says: |c| (c.before.port != c.now.port).then(|| format!("port is {} now", c.now.port)),
        },
        Rule {
            name: "storage",
            says: |c| (c.before.volumes != c.now.volumes).then(|| "storage changed".to_owned()),
        },
        Rule {
            name: "deadlines",
            says: |c| {
                (c.before.deadlines != c.now.deadlines).then(|| "deadlines changed".to_owned())
            },
        },
        Rule {
            name: "pod_security",
            says: |c| {
                let now = c.now.pod_security;
                (c.before.pod_security != now).then(|| format!("podSecurity is {now:?} now"))
            },
        },
        Rule {
            name: "pull_secret",
            says: |c| {
                (c.before.image.pull_secret_ref != c.now.image.pull_secret_ref)
                    .then(|| "the pull secret changed".to_owned())
            },
        },
        Rule {
            name: "user",
            says: |c| {
                (c.before.image.user_id != c.now.image.user_id)
                    .then(|| "the user of the image changed".to_owned())
            },
        },
        Rule {
            name: "site",
            says: |c| {
                let (before, now) = (c.before.site.as_ref()?, c.now.site.as_ref()?);
                some("cluster settings changed", &changed_settings(before, now))
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{Input, Verdict, has_served, inputs, retry_at, target, verdict};
    use crate::domain::env::{Config, Entry, Origin};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use slipway_crds::v1alpha1::{
        Check, Deadlines, LocalRef, PodSecurity, Release, ReleasePhase, ReleaseProcess,
        ReleaseSite, ReleaseSpec, ReleaseStatus, ReleaseVolume, Resources,
    };
    use std::collections::BTreeMap;

    type Change = fn(&mut ReleaseSpec);

    fn config(entries: &[(&str, &str)]) -> Config {
        Config::merge(entries.iter().map(|(name, value)| Entry {
            name: (*name).into(),
            value: (*value).into(),
            origin: Origin::Literal,
        }))
        .unwrap()
    }

    type Step = (fn(&mut World), &'static str);

    struct World {
        draft: ReleaseSpec,
        configs: BTreeMap<String, Config>,
        releases: Vec<Release>,
        retry: bool,
        rerender: bool,
        last: Option<i64>,
        now: Timestamp,
    }

    impl World {
        fn new() -> Self {
            let mut draft = ReleaseSpec {
                revision_id: "abc".into(),
                build: Some("b-1".into()),
                config_secret: "c-1".into(),
                port: 5000,
                ..ReleaseSpec::default()
            };
            draft.image.reference = "slipway/team/hello@sha256:1".into();
            draft.processes.insert(
                "web".into(),
                ReleaseProcess {
                    replicas: 1,
                    ..ReleaseProcess::default()
                },
            );
            let configs = BTreeMap::from([("c-1".to_owned(), config(&[("GREETING", "hello")]))]);
            Self {
                draft,
                configs,
                releases: Vec::new(),
                retry: false,
                rerender: false,
                last: None,
                now: Timestamp::UNIX_EPOCH,
            }
        }

        fn web(&mut self) -> &mut ReleaseProcess {
            self.draft.processes.get_mut("web").unwrap()
        }

        fn verdict(&self) -> Verdict<'_> {
            verdict(&Input {
                draft: &self.draft,
                config: &self.configs[&self.draft.config_secret],
                releases: &self.releases,
                configs: &self.configs,
                retry: self.retry,
                rerender: self.rerender,
                last: self.last,
                now: self.now,
            })
        }

        /// Makes the wanted Release and gives it this phase. Returns its number and cause, or which Release existed.
        fn make(&mut self, phase: ReleasePhase) -> String {
            let (number, cause, inputs) = match self.verdict() {
                Verdict::Exists(release) => return format!("v{} exists", release.spec.number),
                Verdict::Make {
                    number,
                    cause,
                    inputs,
                } => (number, cause, inputs),
            };
            let mut release = Release::new(
                "x",
                ReleaseSpec {
                    number,
                    inputs,
                    ..self.draft.clone()
                },
            );
            release.status = Some(ReleaseStatus {
                phase,
                ..ReleaseStatus::default()
            });
            self.releases.push(release);
            format!("v{number} {cause}")
        }
    }

    #[test]
    fn each_change_makes_a_release_and_says_so_without_values() {
        let mut world = World::new();
        assert_eq!(
            world.make(ReleasePhase::Serving),
            "v1 first release, of abc"
        );
        assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
        let changes: [Step; 12] = [
            (
                |w| {
                    w.draft.image.reference = "slipway/team/hello@sha256:2".into();
                    w.draft.revision_id = "def".into();
                },
                "v2 new image from commit def",
            ),
            (
                |w| {
                    w.draft.config_secret = "c-2".into();
                    w.configs.insert(
                        "c-2".into(),
                        config(&[("GREETING", "hunter2"), ("EXTRA", "x")]),
                    );
                },
                "v3 config changed: EXTRA, GREETING",
            ),
            (
                |w| w.web().command = Some("serve".into()),
                "v4 commands changed: web",
            ),
            (
                |w| w.web().checks.push(Check::default()),
                "v5 checks changed: web",
            ),
            (
                |w| {
                    w.draft
                        .processes
                        .insert("worker".into(), ReleaseProcess::default());
                },
                "v6 processes added: worker",
            ),
            (|w| w.draft.port = 8080, "v7 port is 8080 now"),
            (
                |w| w.draft.volumes.push(ReleaseVolume::default()),
                "v8 storage changed",
            ),
            (
                |w| {
                    w.draft.deadlines = Deadlines {
                        deploy: Some("1m".parse().unwrap()),
                        stop: None,
                    }
                },
                "v9 deadlines changed",
            ),
            (
                |w| w.draft.pod_security = PodSecurity::Baseline,
                "v10 podSecurity is Baseline now",
            ),
            (
                |w| w.draft.image.pull_secret_ref = Some(LocalRef { name: "s".into() }),
                "v11 the pull secret changed",
            ),
            (
                |w| w.web().resources = Some(Resources::default()),
                "v12 resources changed: web",
            ),
            (
                |w| w.draft.image.user_id = Some(7),
                "v13 the user of the image changed",
            ),
        ];
        for (change, wanted) in changes {
            change(&mut world);
            assert_eq!(world.make(ReleasePhase::Serving), wanted);
            assert!(
                matches!(world.verdict(), Verdict::Exists(_)),
                "{wanted}: and once only"
            );
        }
    }

    #[test]
    fn replicas_and_a_commit_with_the_same_image_make_none() {
        let mut world = World::new();
        world.make(ReleasePhase::Serving);
        world.web().replicas = 7;
        world.draft.revision_id = "def".into();
        world.draft.build = Some("b-2".into());
        world.draft.renderer = 9;
        assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
    }

    #[test]
    fn a_failed_release_is_not_made_again_for_the_same_inputs() {
        let mut world = World::new();
        world.make(ReleasePhase::Serving);
        world.draft.port = 8080;
        world.make(ReleasePhase::Failed);
        assert_eq!(world.make(ReleasePhase::Serving), "v2 exists");
        // The App asks again for what serves: there is nothing to make.
        world.draft.port = 5000;
        assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
    }

    #[test]
    fn settings_and_rules_are_those_of_the_release_until_somebody_asks_for_those_of_now() {
        let mut world = World::new();
        let site = |registry: &str, programs: &str| {
            Some(ReleaseSite {
                registry: registry.into(),
                pull_secret: None,
                program_image: programs.into(),
                drain_seconds: 5,
            })
        };
        // A request for the rules and settings that the Release has already.
        world.draft.renderer = 1;
        world.make(ReleasePhase::Serving);
        world.rerender = true;
        assert_eq!(world.make(ReleasePhase::Serving), "v1 exists");
        let steps: [(Change, &str); 3] = [
            // The Release before was made by an operator that recorded no settings.
            (
                |draft| draft.site = Some(ReleaseSite::default()),
                "rerender requested",
            ),
            (|draft| draft.renderer = 2, "rerender requested"),
            (
                |draft| draft.site.as_mut().unwrap().program_image = "another".into(),
                "rerender requested",
            ),
        ];
        for ((change, cause), number) in steps.into_iter().zip(2..) {
            world.rerender = false;
            change(&mut world.draft);
            assert_eq!(
                world.make(ReleasePhase::Serving),
                format!("v{} exists", number - 1)
            );
            world.rerender = true;
            assert_eq!(
                world.make(ReleasePhase::Serving),
                format!("v{number} {cause}")
            );
        }
        // The new settings break pods: the Release before serves on, and nothing is tried again by itself.
        world.draft.site = site("broken", "p");
        let made = "v5 cluster settings changed: registry address, drain time";
        assert_eq!(world.make(ReleasePhase::Failed), made);
        world.rerender = false;
        assert_eq!(world.make(ReleasePhase::Failed), "v5 exists");
        // The settings are set back: the Release that serves is the wanted one.
        let broken = world.draft.site.replace(ReleaseSite {
            program_image: "of another operator".into(),
            ..ReleaseSite::default()
        });
        assert_eq!(world.make(ReleasePhase::Failed), "v4 exists");
        world.draft.site = broken;
        assert_eq!(world.make(ReleasePhase::Failed), "v5 exists");
        // A new request makes a Release, with the same settings or with others.
        world.rerender = true;
        assert_eq!(world.make(ReleasePhase::Failed), "v6 another try of v5");
        world.draft.site = site("right", "p");
        assert_eq!(
            world.make(ReleasePhase::Serving),
            "v7 cluster settings changed: registry address"
        );
        assert_eq!(world.make(ReleasePhase::Serving), "v7 exists");
        // A Release that is made for another reason takes up new settings, too.
        world.rerender = false;
        world.draft.port = 8080;
        world.draft.site = site("newer", "p");
        let made = "v8 port is 8080 now; cluster settings changed: registry address";
        assert_eq!(world.make(ReleasePhase::Serving), made);
    }

    #[test]
    fn what_was_overtaken_before_it_served_is_made_anew() {
        let mut world = World::new();
        world.make(ReleasePhase::Serving);
        world.draft.port = 8080;
        world.make(ReleasePhase::Superseded);
        world.draft.port = 9090;
        world.make(ReleasePhase::Failed);
        // The App asks again for what v2 had, which never served; v1 serves.
        world.draft.port = 8080;
        assert_eq!(world.make(ReleasePhase::Pending), "v4 port is 8080 now");
    }

    #[test]
    fn the_newest_that_has_not_failed_runs_else_the_last_that_served() {
        use ReleasePhase::{Deploying, Failed, Pending, Serving, Superseded};
        type Case<'a> = (&'a [(ReleasePhase, bool)], Option<i64>);
        let cases: [Case; 12] = [
            (&[], None),
            (&[(Pending, false)], Some(1)),
            (&[(Serving, true), (Deploying, false)], Some(2)),
            (&[(Serving, true), (Failed, false)], Some(1)),
            (
                &[(Superseded, true), (Serving, true), (Failed, false)],
                Some(2),
            ),
            (
                &[(Serving, true), (Superseded, false), (Failed, false)],
                Some(1),
            ),
            (
                &[(Serving, true), (Failed, false), (Failed, false)],
                Some(1),
            ),
            (
                &[(Superseded, true), (Superseded, false), (Failed, false)],
                Some(1),
            ),
            // The phase Serving is enough.
            (
                &[(Superseded, true), (Serving, false), (Failed, false)],
                Some(2),
            ),
            // It served once, and failed when it was made the target again.
            (
                &[(Superseded, true), (Failed, true), (Failed, false)],
                Some(1),
            ),
            (&[(Failed, false), (Failed, false)], None),
            (&[(Failed, false), (Pending, false)], Some(2)),
        ];
        for (phases, expected) in cases {
            let release = |((phase, served), number): (&(ReleasePhase, bool), i64)| {
                let spec = ReleaseSpec {
                    number,
                    ..ReleaseSpec::default()
                };
                let mut release = Release::new("x", spec);
                release.status = Some(ReleaseStatus {
                    phase: *phase,
                    deployed_at: served.then_some(Time(Timestamp::UNIX_EPOCH)),
                    ..ReleaseStatus::default()
                });
                release
            };
            let mut releases: Vec<Release> = phases.iter().zip(1..).map(release).collect();
            // The order of the Releases does not matter.
            releases.reverse();
            let found = target(&releases).map(|release| release.spec.number);
            assert_eq!(found, expected, "{phases:?}");
        }
    }

    #[test]
    fn a_failed_release_is_made_again_for_a_build_that_was_asked_for() {
        let mut world = World::new();
        world.make(ReleasePhase::Failed);
        world.draft.build = Some("b-2".into());
        assert_eq!(world.make(ReleasePhase::Serving), "v2 another try of v1");
    }

    #[test]
    fn a_failed_release_of_an_image_is_made_again_on_request() {
        let mut world = World::new();
        world.draft.build = None;
        world.make(ReleasePhase::Failed);
        assert_eq!(world.make(ReleasePhase::Pending), "v1 exists");
        world.retry = true;
        assert_eq!(world.make(ReleasePhase::Pending), "v2 another try of v1");
        assert_eq!(world.make(ReleasePhase::Pending), "v2 exists");
    }

    #[test]
    fn a_number_is_used_once() {
        let mut world = World::new();
        world.make(ReleasePhase::Superseded);
        world.draft.port = 8080;
        world.make(ReleasePhase::Serving);
        world.releases.pop();
        world.last = Some(2);
        assert_eq!(world.make(ReleasePhase::Serving), "v3 port is 8080 now");
        // The App's status is older than the records, or lost.
        world.draft.port = 9090;
        assert_eq!(world.make(ReleasePhase::Serving), "v4 port is 9090 now");
        world.last = None;
        world.draft.port = 8080;
        assert_eq!(world.make(ReleasePhase::Serving), "v5 port is 8080 now");
        // All Releases are deleted; the App's status has the last number.
        world.releases.clear();
        world.last = Some(5);
        assert_eq!(
            world.make(ReleasePhase::Serving),
            "v6 first release, of abc"
        );
    }

    /// Minutes from each failure for an unavailable registry until the Release is made again, if `kept` failed Releases
    /// are kept.
    fn tries(world: &mut World, kept: i64) -> Vec<i64> {
        let mut said = Vec::new();
        let first = world.releases.len() + 1;
        for number in i64::try_from(first).unwrap()..20 {
            world.make(ReleasePhase::Failed);
            let oldest = number - kept;
            world
                .releases
                .retain(|r| r.spec.number > oldest || has_served(r));
            let failed = world.now;
            let release = world.releases.iter_mut().find(|r| r.spec.number == number);
            let Some(release) = release else { break };
            release.status = serde_json::from_value(serde_json::json!({
                "phase": "Failed",
                "failure": {"reason": "RegistryUnavailable", "message": "no answer"},
                "conditions": [{
                    "type": "Ready", "status": "False", "reason": "RegistryUnavailable", "message": "",
                    "lastTransitionTime": failed.to_string(),
                }],
            }))
            .unwrap();
            assert!(matches!(world.verdict(), Verdict::Exists(_)), "not at once");
            let Some(at) = retry_at(&world.releases) else {
                break;
            };
            said.push(at.duration_since(failed).as_mins());
            world.now = at;
        }
        said
    }

    #[test]
    fn a_release_that_wanted_its_registry_is_made_again_later_each_time() {
        let mut world = World::new();
        assert_eq!(tries(&mut world, 20), [1, 5, 15, 60, 180]);
        // A failure for another reason is not tried again.
        let newest = world.releases.iter_mut().max_by_key(|r| r.spec.number);
        let status = newest.unwrap().status.as_mut().unwrap();
        status.failure.as_mut().unwrap().reason = "ImagePullFailed".into();
        assert_eq!(retry_at(&world.releases), None);
        // Pruned tries count, too.
        for kept in [1, 2, 4] {
            let mut world = World::new();
            world.make(ReleasePhase::Serving);
            world.draft.port = 8080;
            assert_eq!(tries(&mut world, kept), [1, 5, 15, 60, 180], "{kept}");
        }
    }

    #[test]
    fn going_back_to_an_older_config_is_a_new_release() {
        let mut world = World::new();
        world.make(ReleasePhase::Superseded);
        world.draft.port = 8080;
        world.make(ReleasePhase::Serving);
        world.draft.port = 5000;
        assert_eq!(world.make(ReleasePhase::Serving), "v3 port is 5000 now");
    }

    #[test]
    fn the_hash_stays_as_it_is() {
        // Another hash would make a new Release of every App when the operator is upgraded.
        assert_eq!(
            inputs(&World::new().draft),
            "d122e82a39e8bd19624334b6247d4571ecd81faa"
        );
    }
}
