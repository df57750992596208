//! What a Release is made from: the hash whose change makes a new one, and the change in words. Whatever is added to
//! one has to be added to the other.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipway_crds::v1alpha1::{
    Check, Deadlines, PodSecurity, Release, ReleaseImage, ReleasePhase, ReleaseProcess,
    ReleaseSpec, ReleaseVolume, Resources,
};

use crate::{
    decide::{
        chain::{Rule, all, named},
        release::{Input, changed_settings, phase},
    },
    domain::env::Config,
};

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
        // An upgrade of the operator replaces no pod.
        renderer: _,
        // An image does not change because another commit resulted in the same one.
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
        // A change of settings makes no Release either, until a user asks for one.
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

/// Why a Release is made, in words.
pub(super) fn cause(input: &Input<'_>, newest: Option<&Release>) -> String {
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
    // The schema limits the length.
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

const fn rule<'a>(
    name: &'static str,
    says: fn(&Change<'a>) -> Option<String>,
) -> Rule<Change<'a>, String> {
    Rule { name, says }
}

/// What may have changed, each in words.
fn causes<'a>() -> [Rule<Change<'a>, String>; 14] {
    [
        rule("image", image),
        rule("config", config),
        rule("processes_added", |c| {
            some("processes added", &only_in(c.now, c.before))
        }),
        rule("processes_removed", |c| {
            some("processes removed", &only_in(c.before, c.now))
        }),
        rule("commands", |c| {
            some("commands changed", &c.processes(|p| p.command.clone()))
        }),
        rule("resources", |c| {
            some("resources changed", &c.processes(|p| p.resources.clone()))
        }),
        rule("checks", |c| {
            some("checks changed", &c.processes(|p| p.checks.clone()))
        }),
        rule("port", |c| {
            (c.before.port != c.now.port).then(|| format!("port is {} now", c.now.port))
        }),
        rule("storage", |c| {
            (c.before.volumes != c.now.volumes).then(|| "storage changed".to_owned())
        }),
        rule("deadlines", |c| {
            (c.before.deadlines != c.now.deadlines).then(|| "deadlines changed".to_owned())
        }),
        rule("pod_security", |c| {
            let now = c.now.pod_security;
            (c.before.pod_security != now).then(|| format!("podSecurity is {now:?} now"))
        }),
        rule("pull_secret", |c| {
            (c.before.image.pull_secret_ref != c.now.image.pull_secret_ref)
                .then(|| "the pull secret changed".to_owned())
        }),
        rule("user", |c| {
            (c.before.image.user_id != c.now.image.user_id)
                .then(|| "the user of the image changed".to_owned())
        }),
        rule("site", |c| {
            let (before, now) = (c.before.site.as_ref()?, c.now.site.as_ref()?);
            some("cluster settings changed", &changed_settings(before, now))
        }),
    ]
}

fn image(c: &Change<'_>) -> Option<String> {
    let now = c.now;
    (c.before.image.reference != now.image.reference).then(|| {
        if now.image.external {
            format!("new image {}", now.revision_id)
        } else if c.before.revision_id == now.revision_id {
            format!("new image from commit {}, built again", now.revision_id)
        } else {
            format!("new image from commit {}", now.revision_id)
        }
    })
}

fn config(c: &Change<'_>) -> Option<String> {
    if c.before.config_secret == c.now.config_secret {
        return None;
    }
    let names = c
        .config_before
        .map(|before| c.config.changed_names(before))
        .unwrap_or_default();
    some("config changed", &names).or_else(|| Some("config changed".to_owned()))
}
