//! A Revision, build inputs and the App's Builds → the wanted Build: an existing one, or a new one and its cause. Pure.
//!
//! A Build's name is a hash of its inputs. So the operator does not build the same inputs again, not even after a
//! failure. A new commit, another input or a request gives another name.
//!
//! There are two exceptions, in which the operator makes another attempt with the same inputs. First, some values are
//! not in the hash, because they do not change the image or must not make a Build on their own; if a Build has failed
//! and such a value changes, there is another attempt. Second, if something outside the Build interrupted it, there are
//! more attempts, after growing delays and up to a limit.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipway_crds::{
    conditions::{Reason, types},
    labels, names,
    v1alpha1::{Build, BuildEnvVar, BuildPhase, BuildStack, Duration, Resources},
};

use crate::{
    decide::chain::{Rule, first, named},
    domain::app::BuildInputs,
    order::newest,
};

/// The input of [`verdict`].
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Name of the App.
    pub app: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// The whole commit.
    pub commit: &'a str,
    /// The branch or tag that pointed to the commit.
    pub r#ref: Option<&'a str>,
    /// Address of the repository.
    pub url: &'a str,
    /// Secret with the credentials of its server.
    pub secret: Option<&'a str>,
    /// Directory of the App within the repository.
    pub sub_path: Option<&'a str>,
    /// What the spec says of builds.
    pub inputs: &'a BuildInputs,
    /// A hash of the variables that a build would get now, with the values behind references.
    pub env: &'a str,
    /// A hash of the variables as the spec names them, made by [`variables`].
    pub variables: &'a str,
    /// The Stack as it is now.
    pub stack: &'a BuildStack,
    /// Value of the annotation that asks for a build.
    pub request: Option<&'a str>,
    /// The App's Builds.
    pub builds: &'a [Build],
    /// The current time.
    pub now: Timestamp,
}

/// Delay of the next attempt after the first interruption in a row, the second, and so on. After the last there is no
/// further attempt. Together they outlast an outage of a few hours, as those of Releases do.
const RETRY_AFTER: [SignedDuration; RETRIES] = [
    SignedDuration::from_secs(10),
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(6),
    SignedDuration::from_mins(20),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(3),
];

/// The number of these delays. Each Build records it in an annotation.
pub const RETRIES: usize = 6;

/// Their number for Builds without that annotation, which an older operator made.
const RETRIES_UNNOTED: usize = 3;

/// Most attempts in a row for an unchanged spec whose referenced values (Secrets, ConfigMaps) change. Otherwise a token
/// that is renewed every hour would start a failing Build every hour.
const VALUES: u32 = 4;

/// How many attempts in a row may have been pruned before an attempt that still exists.
const PRUNED: u32 = 32;

/// Which Build is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// This existing Build, whether it succeeded or not.
    Exists(&'a Build),
    /// This Build was interrupted; at this time the operator makes another attempt.
    Retry(&'a Build, Timestamp),
    /// A new Build.
    Make {
        /// Its name.
        name: String,
        /// Why it is made.
        cause: String,
        /// The value of the annotation that asked for it.
        request: Option<String>,
    },
}

/// The inputs that a Build's name is a hash of. A new field must be skipped when it is empty, or every name changes.
#[derive(Serialize)]
struct Hashed<'a> {
    uid: &'a str,
    commit: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_path: Option<&'a str>,
    stack: &'a BuildStack,
    buildpacks: &'a [String],
    env: &'a [BuildEnvVar],
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

/// Decides which Build is wanted.
pub fn verdict<'a>(input: &Input<'a>) -> Verdict<'a> {
    let request = request(input);
    let attempts = attempts(input, request);
    let last = attempts.last();
    match (retry_at(&attempts, input), last) {
        (Some(at), Some((_, build))) if input.now < at => return Verdict::Retry(build, at),
        (Some(_), _) => {}
        // The latest attempt counts: an earlier one may have been pruned, and that must not make a Build.
        (None, _) => {
            let newer = attempts.iter().rev();
            let mut standing = newer.filter(|(_, b)| stands(b, input, &attempts));
            if let Some((_, build)) = standing.next() {
                return Verdict::Exists(build);
            }
        }
    }
    let asked = Asked {
        input: *input,
        request,
        replaced: last.map(|(_, build)| *build),
        previous: newest(input.builds),
    };
    let cause = first(&causes(), &asked)
        .map_or_else(|| "build inputs changed".to_owned(), |(_, cause)| cause);
    Verdict::Make {
        name: name(input, request, last.map_or(0, |(attempt, _)| attempt + 1)),
        cause,
        request: request.map(str::to_owned),
    }
}

/// The current request. If the annotation is gone, the newest Build's request still counts, so that removing the
/// annotation makes no Build.
fn request<'a>(input: &Input<'a>) -> Option<&'a str> {
    input
        .request
        .or_else(|| newest(input.builds)?.spec.request.as_deref())
}

/// Builds of these inputs, in the order of their attempts.
fn attempts<'a>(input: &Input<'a>, request: Option<&str>) -> Vec<(u32, &'a Build)> {
    let mut found: Vec<(u32, &Build)> = Vec::new();
    for attempt in 0.. {
        if attempt > found.last().map_or(0, |(last, _)| *last) + PRUNED {
            break;
        }
        let name = name(input, request, attempt);
        let build = input
            .builds
            .iter()
            .find(|build| build.metadata.name.as_deref() == Some(&name));
        found.extend(build.map(|build| (attempt, build)));
    }
    found
}

/// Whether an existing Build of these inputs is the wanted one. It is not if a newer commit superseded it, or if it
/// failed or waits for a missing reference and the spec or a value that it uses has changed since.
fn stands(build: &Build, input: &Input<'_>, attempts: &[(u32, &Build)]) -> bool {
    let phase = build.status.as_ref().map(|s| s.phase).unwrap_or_default();
    match phase {
        BuildPhase::Failed => {
            let tried = has_variables(build, input) && with_these(attempts, input) >= VALUES;
            has_origin(build, input) && (found_the_same(build, input) || tried)
        }
        BuildPhase::Pending if has_reason(build, Reason::ReferenceMissing) => {
            has_origin(build, input) && has_variables(build, input)
        }
        BuildPhase::Cancelled => !was_overtaken(build),
        BuildPhase::Pending
        | BuildPhase::Fetching
        | BuildPhase::Building
        | BuildPhase::Exporting
        | BuildPhase::Succeeded => true,
    }
}

/// A hash of variables as a spec names them. Their order does not matter.
pub fn variables(env: &[BuildEnvVar]) -> String {
    let mut env: Vec<&BuildEnvVar> = env.iter().collect();
    env.sort_by(|a, b| a.name.cmp(&b.name));
    // Plain data always has a JSON form.
    let json = serde_json::to_vec(&env).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}

/// The entry that replaces the variables of a Build of which the cache keeps only a part. Its name is empty, which no
/// variable of a spec can have.
pub fn in_brief(env: &[BuildEnvVar]) -> BuildEnvVar {
    BuildEnvVar {
        value: Some(variables(env)),
        ..BuildEnvVar::default()
    }
}

/// Whether the spec still names the same variables as when the Build was made.
fn has_variables(build: &Build, input: &Input<'_>) -> bool {
    let (before, now) = (&build.spec.env, &input.inputs.env);
    if let [brief] = before.as_slice()
        && brief.name.is_empty()
    {
        return brief.value.as_deref() == Some(input.variables);
    }
    before.len() == now.len() && before.iter().all(|variable| now.contains(variable))
}

/// Whether the next Build would get the same variables as this one. Builds of an older operator do not record this; for
/// them it is assumed, so that an upgrade of the operator makes no Build.
fn found_the_same(build: &Build, input: &Input<'_>) -> bool {
    annotation(build, labels::BUILD_ENV).is_none_or(|found| found == input.env)
}

/// How many attempts in a row, pruned ones included, had the variables that the spec names now.
fn with_these(attempts: &[(u32, &Build)], input: &Input<'_>) -> u32 {
    let mut newer = attempts.iter().rev();
    let last = newer.clone().next().map_or(0, |(last, _)| *last);
    let other = newer.find(|(_, build)| !has_variables(build, input));
    other.map_or(last + 1, |(other, _)| last - other)
}

/// When to make another attempt, if the last one was interrupted. Pruned attempts count as interrupted: too few
/// attempts are better than endlessly many.
fn retry_at(attempts: &[(u32, &Build)], input: &Input<'_>) -> Option<Timestamp> {
    let (last, build) = attempts.last()?;
    if !was_interrupted(build, input) {
        return None;
    }
    let others = attempts.iter().rev();
    let mut before = others.filter(|(_, b)| !was_interrupted(b, input));
    let in_a_row = before.next().map_or(last + 1, |(other, _)| last - other);
    let done = usize::try_from(in_a_row - 1).ok()?;
    if done >= retries(build) {
        return None;
    }
    let wait = RETRY_AFTER.get(done)?;
    let finished = build.status.as_ref()?.finished_at.as_ref()?.0;
    finished.checked_add(*wait).ok()
}

/// The number of retries that applied when the Build was made. So a Build that an older operator gave up stays given
/// up.
fn retries(build: &Build) -> usize {
    let noted = annotation(build, labels::BUILD_RETRIES).and_then(|noted| noted.parse().ok());
    noted.unwrap_or(RETRIES_UNNOTED)
}

fn annotation<'a>(build: &'a Build, name: &str) -> Option<&'a str> {
    let annotations = build.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

/// Where a Build gets its commit from, if its source is git: the address, and the Secret with the credentials.
fn origin(build: &Build) -> Option<(&str, Option<&str>)> {
    let git = build.spec.source.git.as_ref()?;
    let secret = git.secret_ref.as_ref().map(|s| s.name.as_str());
    Some((&git.url, secret))
}

/// Whether a new Build would get its commit from the same place.
fn has_origin(build: &Build, input: &Input<'_>) -> bool {
    origin(build) == Some((input.url, input.secret))
}

/// Whether the Build was interrupted from outside, and a new one would get its commit from the same place. False if a
/// user has cancelled the Build since, who then wants no more attempts.
fn was_interrupted(build: &Build, input: &Input<'_>) -> bool {
    let given_up = annotation(build, labels::CANCEL) == Some("true");
    has_reason(build, Reason::BuildInterrupted) && has_origin(build, input) && !given_up
}

fn was_overtaken(build: &Build) -> bool {
    has_reason(build, Reason::BuildSuperseded)
}

/// Whether the Build's condition `Ready` has this reason.
fn has_reason(build: &Build, reason: Reason) -> bool {
    let conditions = build.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == types::READY && c.reason == reason.as_str())
}

fn name(input: &Input<'_>, request: Option<&str>, attempt: u32) -> String {
    let BuildInputs {
        // Part of `stack`, by digest.
        stack: _,
        buildpacks,
        own_env,
        // A change of the App's own variables makes no Build.
        env: _,
        // Nor does a change of the operator's default.
        timeout: _,
        own_timeout,
        resources,
    } = input.inputs;
    let hashed = Hashed {
        uid: input.uid,
        commit: input.commit,
        sub_path: input.sub_path,
        stack: input.stack,
        buildpacks,
        env: own_env,
        timeout: *own_timeout,
        resources: resources.as_ref(),
        request,
        attempt: (attempt > 0).then_some(attempt),
    };
    // Plain data always has a JSON form.
    let json = serde_json::to_vec(&hashed).unwrap_or_default();
    let hash = hex::encode(Sha256::digest(json));
    names::hashed(input.app, hash.get(..names::HASH).unwrap_or(&hash))
}

struct Asked<'a> {
    input: Input<'a>,
    request: Option<&'a str>,
    /// The last Build of the same inputs.
    replaced: Option<&'a Build>,
    previous: Option<&'a Build>,
}

fn causes<'a>() -> [Rule<Asked<'a>, String>; 11] {
    [
        Rule {
            name: "first",
            says: |a| {
                a.previous
                    .is_none()
                    .then(|| format!("first build, of {}", commit(&a.input)))
            },
        },
        Rule {
            name: "overtaken",
            says: |a| {
                let wanted = commit(&a.input);
                was_overtaken(a.replaced?)
                    .then(|| format!("{wanted} is wanted again; its build before was overtaken"))
            },
        },
        Rule {
            name: "interrupted",
            says: |a| {
                let before = a.replaced?;
                let name = before.metadata.name.as_deref().unwrap_or_default();
                was_interrupted(before, &a.input).then(|| format!("{name} was interrupted"))
            },
        },
        Rule {
            name: "corrected",
            says: |a| {
                let before = a.replaced?;
                let (url, secret) = origin(before)?;
                let what = if url != a.input.url {
                    "source.git.url"
                } else if secret != a.input.secret {
                    "source.git.secretRef"
                } else if !has_variables(before, &a.input) {
                    "env"
                } else if !found_the_same(before, &a.input) {
                    "a value that env refers to"
                } else {
                    return None;
                };
                let name = before.metadata.name.as_deref().unwrap_or_default();
                Some(format!("{what} changed since {name} could not be built"))
            },
        },
        Rule {
            name: "commit",
            says: |a| {
                let git = a.previous?.spec.source.git.as_ref();
                (git.map(|git| git.commit.as_str()) != Some(a.input.commit))
                    .then(|| format!("new commit: {}", commit(&a.input)))
            },
        },
        Rule {
            name: "request",
            says: |a| {
                (a.previous?.spec.request.as_deref() != a.request)
                    .then(|| "a rebuild was requested".to_owned())
            },
        },
        Rule {
            name: "sub_path",
            says: |a| {
                (a.previous?.spec.source.sub_path.as_deref() != a.input.sub_path)
                    .then(|| "subPath changed".to_owned())
            },
        },
        Rule {
            name: "stack",
            says: |a| stack_changed(&a.previous?.spec.stack, a.input.stack),
        },
        Rule {
            name: "buildpacks",
            says: |a| {
                (a.previous?.spec.buildpacks != a.input.inputs.buildpacks)
                    .then(|| "build.buildpacks changed".to_owned())
            },
        },
        Rule {
            name: "env",
            says: |a| {
                let before = &a.previous?.spec.env;
                let own = a.input.inputs.own_env.iter();
                let changed: Vec<&str> = own
                    .filter(|v| !before.contains(v))
                    .map(|v| v.name.as_str())
                    .collect();
                (!changed.is_empty()).then(|| format!("build.env changed: {}", named(changed)))
            },
        },
        Rule {
            name: "limits",
            says: |a| {
                let spec = &a.previous?.spec;
                let inputs = a.input.inputs;
                (spec.resources != inputs.resources
                    || inputs.own_timeout.is_some_and(|t| t != spec.timeout))
                .then(|| "the limits of builds changed".to_owned())
            },
        },
    ]
}

fn commit(input: &Input<'_>) -> String {
    let short = input.commit.get(..12).unwrap_or(input.commit);
    input
        .r#ref
        .map_or_else(|| short.to_owned(), |name| format!("{short} ({name})"))
}

fn stack_changed(before: &BuildStack, now: &BuildStack) -> Option<String> {
    if before == now {
        return None;
    }
    if before.name != now.name {
        return Some(format!("the Stack is {} now", now.name));
    }
    let mut parts: Vec<String> = Vec::new();
    if before.build_image != now.build_image {
        parts.push("build image".to_owned());
    }
    if before.run_image != now.run_image {
        parts.push("run image".to_owned());
    }
    parts.extend(
        now.packs
            .iter()
            .filter(|pack| !before.packs.contains(pack))
            .map(|pack| format!("buildpack {}", pack.name)),
    );
    let mut text = format!("the Stack {} changed", now.name);
    if !parts.is_empty() {
        text.push_str(": ");
        text.push_str(&named(parts.iter().map(String::as_str)));
    }
    Some(text)
}

/// Names of variables whose entry in the spec has changed since the Build. For a failed Build these are all such
/// variables. Otherwise only those that come from a Secret or ConfigMap: the spec marks these for builds (`build:
/// true`), while most literals concern only the running App.
pub fn outdated<'a>(build: &'a Build, inputs: &'a BuildInputs) -> Vec<&'a str> {
    let failed = build
        .status
        .as_ref()
        .is_some_and(|s| s.phase == BuildPhase::Failed);
    let before = &build.spec.env;
    let changed = inputs.env.iter().filter(|now| !before.contains(now));
    let named = |name: &str| inputs.env.iter().any(|now| now.name == name);
    let gone = before.iter().filter(|variable| !named(&variable.name));
    changed
        .chain(gone)
        .filter(|variable| failed || variable.value_from.is_some())
        .map(|variable| variable.name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Input, RETRIES, Verdict, in_brief, outdated, variables, verdict};
    use crate::{domain::app::BuildInputs, order::newest};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use slipway_crds::{
        conditions::{Reason, types},
        labels,
        v1alpha1::{
            Artifact, Build, BuildEnvVar, BuildGit, BuildPhase, BuildSource, BuildSpec, BuildStack,
            BuildStatus, EnvValueFrom, LocalRef, StackPack,
        },
    };

    struct World {
        inputs: BuildInputs,
        stack: BuildStack,
        url: String,
        secret: Option<String>,
        commit: String,
        sub_path: Option<String>,
        request: Option<String>,
        /// The hash of the variables' values; `None`: Builds do not record it, like those of an older operator.
        env: Option<String>,
        /// The number of retries that Builds record; `None`: they record none, like those of an older operator.
        retries: Option<usize>,
        builds: Vec<Build>,
        /// Seconds since 1970.
        now: i64,
    }

    fn artifact(digit: &str) -> Artifact {
        Artifact {
            repository: "slipway/x".into(),
            digest: format!("sha256:{}", digit.repeat(64)),
        }
    }

    impl World {
        fn new() -> Self {
            Self {
                inputs: BuildInputs {
                    stack: "standard".into(),
                    ..BuildInputs::default()
                },
                stack: BuildStack {
                    name: "standard".into(),
                    build_image: artifact("a"),
                    run_image: artifact("b"),
                    packs: vec![StackPack {
                        name: "python".into(),
                        artifact: artifact("c"),
                    }],
                    ..BuildStack::default()
                },
                url: "https://example.com/hello.git".into(),
                secret: None,
                commit: "1".repeat(40),
                sub_path: None,
                request: None,
                env: None,
                retries: Some(RETRIES),
                builds: Vec::new(),
                now: 0,
            }
        }

        fn verdict(&self) -> Verdict<'_> {
            // The verdict is the same if only a part of the older Builds is kept.
            let newest = newest(&self.builds).and_then(|build| build.metadata.name.clone());
            let mut brief = self.builds.clone();
            for build in &mut brief {
                if build.metadata.name != newest {
                    build.spec.env = vec![in_brief(&build.spec.env)];
                    build.spec.stack = BuildStack::default();
                    build.spec.buildpacks.clear();
                }
            }
            let whole = self.of(&self.builds);
            match (&whole, self.of(brief.leak())) {
                (Verdict::Exists(one), Verdict::Exists(other)) => {
                    assert_eq!(one.metadata.name, other.metadata.name);
                }
                (Verdict::Retry(one, at), Verdict::Retry(other, then)) => {
                    assert_eq!((&one.metadata.name, *at), (&other.metadata.name, then));
                }
                (one, other) => assert_eq!(*one, other),
            }
            whole
        }

        fn of<'a>(&'a self, builds: &'a [Build]) -> Verdict<'a> {
            verdict(&Input {
                app: "hello",
                uid: "u-1",
                commit: &self.commit,
                r#ref: Some("main"),
                url: &self.url,
                secret: self.secret.as_deref(),
                sub_path: self.sub_path.as_deref(),
                inputs: &self.inputs,
                env: self.env.as_deref().unwrap_or("now"),
                variables: variables(&self.inputs.env).leak(),
                stack: &self.stack,
                request: self.request.as_deref(),
                builds,
                now: Timestamp::from_second(self.now).unwrap(),
            })
        }

        /// Makes the wanted Build and gives it this phase and reason. Returns why it was made, or that it existed.
        fn make(&mut self, phase: BuildPhase, reason: Reason) -> String {
            let (name, cause, request) = match self.verdict() {
                Verdict::Exists(_) => return "(exists)".into(),
                Verdict::Retry(_, at) => return format!("(at {})", at.as_second()),
                Verdict::Make {
                    name,
                    cause,
                    request,
                } => (name, cause, request),
            };
            let spec = BuildSpec {
                source: BuildSource {
                    git: Some(BuildGit {
                        url: self.url.clone(),
                        commit: self.commit.clone(),
                        secret_ref: self.secret.clone().map(|name| LocalRef { name }),
                        ..BuildGit::default()
                    }),
                    sub_path: self.sub_path.clone(),
                },
                stack: self.stack.clone(),
                buildpacks: self.inputs.buildpacks.clone(),
                env: self.inputs.env.clone(),
                resources: self.inputs.resources.clone(),
                timeout: self.inputs.own_timeout.unwrap_or_default(),
                request,
                ..BuildSpec::default()
            };
            let mut build = Build::new(&name, spec);
            let env = self.env.clone().map(|env| (labels::BUILD_ENV, env));
            let retries = self.retries.map(|n| (labels::BUILD_RETRIES, n.to_string()));
            let noted = env.into_iter().chain(retries);
            build.metadata.annotations = Some(
                noted
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            );
            let second = i64::try_from(self.builds.len()).unwrap();
            let time = Time(Timestamp::from_second(second).unwrap());
            build.metadata.creation_timestamp = Some(time.clone());
            build.status = Some(BuildStatus {
                phase,
                conditions: vec![Condition {
                    type_: types::READY.into(),
                    status: "False".into(),
                    reason: reason.as_str().into(),
                    message: String::new(),
                    last_transition_time: time,
                    observed_generation: None,
                }],
                finished_at: Some(Time(Timestamp::from_second(self.now).unwrap())),
                ..BuildStatus::default()
            });
            self.builds.push(build);
            cause
        }

        fn built(&mut self) -> String {
            self.make(BuildPhase::Succeeded, Reason::BuildSucceeded)
        }
    }

    #[test]
    fn each_changed_input_makes_a_build_and_says_so() {
        let mut world = World::new();
        assert_eq!(world.built(), "first build, of 111111111111 (main)");
        assert_eq!(world.built(), "(exists)");
        world.commit = "2".repeat(40);
        assert_eq!(world.built(), "new commit: 222222222222 (main)");
        world.sub_path = Some("app".into());
        assert_eq!(world.built(), "subPath changed");
        world.stack.packs[0].artifact = artifact("d");
        assert_eq!(
            world.built(),
            "the Stack standard changed: buildpack python"
        );
        world.stack.run_image = artifact("e");
        assert_eq!(world.built(), "the Stack standard changed: run image");
        world.inputs.buildpacks = vec!["python".into()];
        assert_eq!(world.built(), "build.buildpacks changed");
        let variable = BuildEnvVar {
            name: "NODE_ENV".into(),
            value: Some("secret".into()),
            value_from: None,
        };
        world.inputs.own_env = vec![variable.clone()];
        world.inputs.env = vec![variable];
        assert_eq!(world.built(), "build.env changed: NODE_ENV");
        world.inputs.own_timeout = Some("1h".parse().unwrap());
        assert_eq!(world.built(), "the limits of builds changed");
        world.request = Some("now".into());
        assert_eq!(world.built(), "a rebuild was requested");
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn an_apps_own_variables_and_the_operators_defaults_make_no_build() {
        let mut world = World::new();
        world.built();
        world.inputs.env = vec![variable("A", "1")];
        world.inputs.timeout = std::time::Duration::from_secs(9);
        assert_eq!(world.built(), "(exists)");
        // A changed literal is not reported; a variable from a Secret or ConfigMap is.
        assert_eq!(outdated(&world.builds[0], &world.inputs), [""; 0]);
        world.inputs.env[0].value_from = Some(EnvValueFrom::default());
        assert_eq!(outdated(&world.builds[0], &world.inputs), ["A"]);
        world.inputs.env.clear();
        world.builds[0].spec.env = vec![variable("B", "1")];
        assert_eq!(outdated(&world.builds[0], &world.inputs), [""; 0]);
        world.builds[0].status.as_mut().unwrap().phase = BuildPhase::Failed;
        assert_eq!(outdated(&world.builds[0], &world.inputs), ["B"]);
    }

    fn variable(name: &str, value: &str) -> BuildEnvVar {
        BuildEnvVar {
            name: name.into(),
            value: Some(value.into()),
            value_from: None,
        }
    }

    #[test]
    fn a_corrected_variable_is_another_try_of_what_failed() {
        let mut world = World::new();
        let see = |world: &mut World, env: &[(&str, &str)]| {
            world.inputs.env = env.iter().map(|(n, v)| variable(n, v)).collect();
            world.env = Some(format!("{env:?}"));
            let cause = world.make(BuildPhase::Failed, Reason::BuildFailed);
            let name = world.builds.last().unwrap().metadata.name.clone().unwrap();
            cause.replace(&name, "it")
        };
        let changed = |name: &str| format!("env changed since {name} could not be built");
        assert_eq!(
            see(&mut world, &[("A", "1")]),
            "first build, of 111111111111 (main)"
        );
        for env in [&[("A", "2")][..], &[("A", "2"), ("B", "1")], &[]] {
            let before = world.builds.last().unwrap().metadata.name.clone().unwrap();
            assert_eq!(see(&mut world, env), changed(&before), "{env:?}");
            assert_eq!(see(&mut world, env), "(exists)", "{env:?}");
        }
        // Back to earlier values, with which the Build has failed already.
        assert_eq!(see(&mut world, &[("A", "1")]), "(exists)");
        // After a success, changed variables make no Build.
        world.inputs.env = vec![variable("C", "1")];
        world.env = Some("c".into());
        world.built();
        assert_eq!(see(&mut world, &[("D", "1")]), "(exists)");
    }

    #[test]
    fn a_value_behind_a_reference_that_is_another_one_is_tried_a_few_times() {
        let mut world = World::new();
        for value in 0..4 {
            world.env = Some(format!("{value}"));
            let cause = world.make(BuildPhase::Failed, Reason::BuildFailed);
            if value > 0 {
                assert!(
                    cause.starts_with("a value that env refers to changed since "),
                    "{cause}"
                );
            }
            assert_eq!(world.built(), "(exists)");
        }
        // Nor when all attempts but the last are pruned.
        for _ in 0..2 {
            world.env = Some("4".into());
            assert_eq!(world.built(), "(exists)");
            world.builds.drain(..world.builds.len() - 1);
        }
        // A change of the spec itself makes another attempt.
        world.inputs.env = vec![variable("A", "1")];
        assert!(world.built().starts_with("env changed since "));
    }

    #[test]
    fn a_failed_build_is_not_made_again_until_asked() {
        let mut world = World::new();
        world.make(BuildPhase::Failed, Reason::BuildFailed);
        assert_eq!(world.built(), "(exists)");
        world.request = Some("again".into());
        assert_eq!(world.built(), "a rebuild was requested");
    }

    #[test]
    fn taking_the_request_away_asks_for_nothing() {
        let mut world = World::new();
        world.built();
        world.request = Some("again".into());
        world.built();
        world.request = None;
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn a_build_that_was_overtaken_is_made_again_when_it_is_wanted_again() {
        let mut world = World::new();
        world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
        world.commit = "2".repeat(40);
        world.built();
        world.commit = "1".repeat(40);
        assert_eq!(
            world.built(),
            "111111111111 (main) is wanted again; its build before was overtaken"
        );
        assert_eq!(world.built(), "(exists)");
        // A Build that a user cancelled is not made again.
        let mut world = World::new();
        world.make(BuildPhase::Cancelled, Reason::BuildCancelled);
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn a_corrected_address_or_secret_is_another_try_of_what_failed() {
        let mut world = World::new();
        world.url = "https://example.com/helo.git".into();
        world.make(BuildPhase::Failed, Reason::BuildFailed);
        let failed = world.builds[0].metadata.name.clone().unwrap();
        world.url = "https://example.com/hello.git".into();
        assert_eq!(
            world.make(BuildPhase::Failed, Reason::BuildFailed),
            format!("source.git.url changed since {failed} could not be built")
        );
        assert_eq!(world.built(), "(exists)");
        let failed = world.builds[1].metadata.name.clone().unwrap();
        world.secret = Some("git".into());
        assert_eq!(
            world.built(),
            format!("source.git.secretRef changed since {failed} could not be built")
        );
        // After a success, another address makes no Build: the commit is the same.
        world.url = "https://mirror.example.com/hello.git".into();
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn an_interrupted_build_is_made_again_for_hours_and_later_each_time() {
        let interrupt = |world: &mut World| {
            let cause = world.make(BuildPhase::Failed, Reason::BuildInterrupted);
            let last = world.builds.last().unwrap();
            (cause, last.metadata.name.clone().unwrap())
        };
        let mut world = World::new();
        let (_, mut before) = interrupt(&mut world);
        for due in [10, 70, 430, 1630, 5230, 16030] {
            assert_eq!(world.built(), format!("(at {due})"));
            world.now = due - 1;
            assert_eq!(world.built(), format!("(at {due})"));
            world.now = due;
            let (cause, name) = interrupt(&mut world);
            assert_eq!(cause, format!("{before} was interrupted"));
            before = name;
        }
        world.now = 99_999;
        assert_eq!(world.built(), "(exists)");
        // Nor when the first attempts are pruned.
        world.builds.drain(..3);
        assert_eq!(world.built(), "(exists)");
        // Another address makes another attempt, and the count starts again.
        world.url = "https://mirror.example.com/hello.git".into();
        let (cause, _) = interrupt(&mut world);
        assert_eq!(
            cause,
            format!("source.git.url changed since {before} could not be built")
        );
        assert_eq!(world.built(), "(at 100009)");
        world.now = 100_009;
        assert!(world.built().ends_with(" was interrupted"));
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn what_an_older_operator_has_given_up_stays_so() {
        let mut world = World::new();
        world.retries = None;
        for due in [10, 70, 430] {
            world.make(BuildPhase::Failed, Reason::BuildInterrupted);
            world.now = due;
        }
        // The newer operator starts before the last attempt of the older one.
        let mut amid = World {
            retries: Some(RETRIES),
            builds: world.builds.clone(),
            ..World::new()
        };
        amid.now = world.now;
        amid.make(BuildPhase::Failed, Reason::BuildInterrupted);
        assert_eq!(amid.built(), "(at 1630)");
        // The newer operator starts after it.
        world.make(BuildPhase::Failed, Reason::BuildInterrupted);
        world.retries = Some(RETRIES);
        world.now = 99_999;
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn who_cancels_what_was_interrupted_or_wants_another_commit_ends_its_attempts() {
        let mut world = World::new();
        world.make(BuildPhase::Failed, Reason::BuildInterrupted);
        assert_eq!(world.built(), "(at 10)");
        let newer = World {
            commit: "2".repeat(40),
            builds: world.builds.clone(),
            ..World::new()
        };
        assert!(matches!(
            newer.verdict(),
            Verdict::Make { cause, .. } if cause.starts_with("new commit")
        ));
        let annotations = world.builds[0].metadata.annotations.as_mut().unwrap();
        annotations.insert(labels::CANCEL.to_owned(), "true".to_owned());
        world.now = 99_999;
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn a_corrected_variable_is_another_try_of_what_cannot_begin() {
        let variable = |value: &str| variable("TOKEN", value);
        let mut world = World::new();
        world.inputs.env = vec![variable("typo")];
        world.make(BuildPhase::Pending, Reason::ReferenceMissing);
        assert_eq!(world.built(), "(exists)");
        let waits = world.builds[0].metadata.name.clone().unwrap();
        world.inputs.env = vec![variable("right")];
        assert_eq!(
            world.built(),
            format!("env changed since {waits} could not be built")
        );
        // A Build that waits in the queue, or that failed under an older operator, is not made again.
        for (phase, reason) in [
            (BuildPhase::Pending, Reason::BuildQueued),
            (BuildPhase::Failed, Reason::BuildFailed),
        ] {
            let mut world = World::new();
            world.make(phase, reason);
            world.inputs.env = vec![variable("right")];
            assert_eq!(world.built(), "(exists)");
        }
    }

    #[test]
    fn an_attempt_that_was_pruned_is_not_made_again() {
        let mut world = World::new();
        world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
        world.built();
        world.builds.remove(0);
        assert_eq!(world.built(), "(exists)");
    }

    #[test]
    fn an_upgrade_of_the_operator_names_builds_as_before() {
        let mut world = World::new();
        let name = |world: &World| match world.verdict() {
            Verdict::Make { name, .. } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(&world), "hello-051bb030a2");
        world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
        assert_eq!(name(&world), "hello-2ab449b5ee");
        world.sub_path = Some("web".into());
        world.request = Some("now".into());
        assert_eq!(name(&world), "hello-385bf3bae2");
    }

    #[test]
    fn names_are_short_and_of_the_app() {
        let world = World::new();
        let Verdict::Make { name, .. } = world.verdict() else {
            panic!("to be made")
        };
        assert!(
            name.starts_with("hello-") && name.len() == "hello-".len() + 10,
            "{name}"
        );
    }
}
