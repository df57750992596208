//! What exists and what is wanted → what to make, what to delete, and how far the App is. Pure.
//!
//! ```text
//! Source ─▶ Revision ─▶ Build ─▶ config + draft ─▶ Release ─▶ its roll-out (read only)
//! ```
//!
//! A step that cannot be done keeps the later ones waiting. Names are hashes of what things are made from, so that a
//! plan that is carried out twice, or halfway, makes nothing twice.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource as _, ResourceExt};
use slipway_crds::{
    conditions::Reason,
    labels, names,
    v1alpha1::{
        Build, BuildPhase, BuildSource, BuildSpec, BuildStack, Duration, GitRevision,
        ImageRevision, PushRevision, Release, ReleaseSpec, Revision, RevisionSpec, Stack,
    },
};

use crate::controllers::app::{
    config::{ConfigError, snapshot},
    report::{Report, Step},
    running,
    seen::Seen,
    words,
};
use slipway_core::{
    decide::{
        build, release,
        retire::{self, Retired},
        revision,
    },
    domain::env::Config,
    draft::{Draft, Image, Origin, config_secret, draft},
    order,
};

/// User for Stacks that name none.
const USER: i64 = 32767;
/// Most bytes of the names of open variables: an object's annotations have room for 256 KiB.
const OPEN_MAX: usize = 64 * 1024;

/// What to do, in this order, and what to say.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// To be made.
    pub revision: Option<Revision>,
    /// To be made.
    pub build: Option<Build>,
    /// To be made, before the Release.
    pub config: Option<Secret>,
    /// To be made.
    pub release: Option<Release>,
    /// To be deleted.
    pub retired: Retired,
    /// When the App has to be looked at again without any change.
    pub due: Option<Timestamp>,
    /// How far the App is.
    pub report: Report,
}

impl Plan {
    /// Whether another controller is given something to do.
    pub(super) const fn begins(&self) -> bool {
        self.build.is_some() || self.release.is_some()
    }
}

/// A wanted Revision.
struct Wanted<'a> {
    name: String,
    number: Option<i64>,
    id: String,
    spec: &'a RevisionSpec,
    /// What its Build builds, if anything.
    source: Option<BuildSource>,
    /// The record of it, if it exists.
    there: Option<&'a Revision>,
}

impl<'a> Wanted<'a> {
    fn of(seen: Seen<'a>, spec: &'a RevisionSpec) -> Self {
        let revisions = &seen.observed.revisions;
        let source = &seen.valid.source;
        let there = revision::standing(source, spec, revisions);
        let status = seen.app.status.as_ref();
        let last = status.and_then(|status| status.last_revision_number);
        let next = || revision::next(revisions, last);
        let number = there.map_or_else(|| Some(next()), |there| there.spec.number);
        let named = || names::revision(&seen.valid.name, number.unwrap_or_default());
        Self {
            name: there.map_or_else(named, ResourceExt::name_any),
            number,
            id: revision_id(spec),
            spec,
            source: revision::build_source(source, spec),
            there,
        }
    }
}

/// Plans.
pub(super) fn plan(seen: Seen<'_>) -> Plan {
    let newest = release::newest(&seen.observed.releases);
    let mut plan = Plan {
        revision: None,
        build: None,
        config: None,
        release: None,
        retired: Retired::default(),
        due: None,
        report: Report {
            source: words::source(seen),
            source_known: seen.source.revision.is_some(),
            suspended: seen.valid.suspend,
            release_name: newest.map(ResourceExt::name_any),
            release_number: newest.map(|release| release.spec.number),
            revision_number: order::newest(&seen.observed.revisions).and_then(|r| r.spec.number),
            handled_reconcile: seen.source.handled.clone(),
            notes: seen.valid.cut.clone(),
            ..Report::stopped(Reason::Waiting, String::new())
        },
    };
    plan.report.build = Step::Waiting("waits for the source".to_owned());
    plan.report.release = Step::Waiting("waits for the source".to_owned());
    plan.report.rollout = Step::Waiting("waits for a release".to_owned());
    plan.report.scale = Step::Waiting("waits for a release".to_owned());
    let Some(spec) = &seen.source.revision else {
        return plan;
    };
    let wanted = Wanted::of(seen, spec);
    plan.report.revision = Some((wanted.name.clone(), wanted.id.clone()));
    if wanted.there.is_none() && !seen.valid.suspend {
        let spec = RevisionSpec {
            number: wanted.number,
            ..spec.clone()
        };
        plan.revision = Some(owned(seen, Revision::new(&wanted.name, spec)));
    }
    let stack = stack(seen);
    let image = plan.build(seen, &wanted, &stack);
    if image.is_none() {
        plan.report.release = Step::Waiting("waits for an image".to_owned());
    }
    let config = image.and_then(|image| plan.release(seen, &image));
    if !seen.valid.suspend {
        plan.retire(seen, &wanted, config.as_deref());
    }
    plan
}

/// A short form for people: a commit's first characters, or an image's digest.
fn revision_id(spec: &RevisionSpec) -> String {
    match (&spec.git, &spec.push, &spec.image) {
        (Some(GitRevision { commit, .. }), ..) | (None, Some(PushRevision { commit, .. }), _) => {
            commit.chars().take(12).collect()
        }
        (None, None, Some(image)) => image
            .resolved
            .rsplit_once('@')
            .map_or(image.resolved.as_str(), |(_, digest)| digest)
            .chars()
            .take(19)
            .collect(),
        (None, None, None) => "unknown".to_owned(),
    }
}

/// Name, namespace, labels and owner of everything that is made for an App.
fn owned<K: kube::Resource>(seen: Seen<'_>, mut object: K) -> K {
    let meta = object.meta_mut();
    meta.namespace = Some(seen.valid.namespace.clone());
    meta.labels = Some(labels::of_app(&seen.valid.name, &seen.valid.uid));
    meta.owner_references = seen.app.controller_owner_ref(&()).map(|owner| vec![owner]);
    object
}

/// Which Build of a commit is wanted.
fn wanted_build<'a>(
    seen: Seen<'a>,
    source: &'a BuildSource,
    number: Option<i64>,
    stack: &'a BuildStack,
    builds: &'a [Build],
) -> build::Verdict<'a> {
    build::verdict(&build::Input {
        app: &seen.valid.name,
        uid: &seen.valid.uid,
        source,
        number,
        inputs: &seen.valid.build,
        env: &seen.variables.found,
        variables: &seen.variables.named,
        stack,
        request: seen.valid.rebuild_requested.as_deref(),
        builds,
        now: seen.now,
    })
}

/// Names of those of `builds` that a plan reads completely: the newest, the wanted one, and the one that the serving
/// Release is made from.
pub(super) fn read_whole(seen: Seen<'_>, builds: &[Build]) -> BTreeSet<String> {
    let newest = order::newest(builds).map(ResourceExt::name_any);
    let target = release::target(&seen.observed.releases);
    let target = target.and_then(|release| release.spec.build.clone());
    let mut names: BTreeSet<String> = newest.into_iter().chain(target).collect();
    let wanted = seen.source.revision.as_ref();
    let wanted = wanted.map(|spec| Wanted::of(seen, spec));
    if let Some(Wanted { source, number, .. }) = &wanted
        && let Some(source) = source
        && let Ok(stack) = stack(seen)
    {
        match wanted_build(seen, source, *number, &stack, builds) {
            build::Verdict::Exists(found) | build::Verdict::Retry(found, _) => {
                names.insert(found.name_any());
            }
            build::Verdict::Make { .. } => {}
        }
    }
    names
}

/// What a Release can be made from, with what is known of its origin.
struct Ready<'a> {
    revision: String,
    revision_id: String,
    image: Image<'a>,
}

/// What the wanted Revision has recorded about its image. It counts, whatever a later look-up of the same image finds.
fn recorded<'a>(wanted: &Wanted<'a>) -> Option<&'a ImageRevision> {
    wanted.there?.spec.image.as_ref()
}

impl Plan {
    /// The Revision that was planned under a name was made, perhaps under another name: what is made from it, and the
    /// report, take over that name.
    pub(super) fn recorded(&mut self, planned: &str, made: &Revision) {
        let name = made.name_any();
        let number = made.spec.number;
        if let Some(build) = &mut self.build {
            build.spec.revision.clone_from(&name);
            build.spec.revision_number = number;
        }
        // Otherwise the Release would be made from the previous image.
        let release = self.release.as_mut();
        if let Some(release) = release.filter(|release| release.spec.revision == planned) {
            release.spec.revision.clone_from(&name);
        }
        if let Some((told, _)) = &mut self.report.revision {
            *told = name;
        }
        self.report.revision_number = self.report.revision_number.max(number);
    }

    /// Plans the wanted Build. Returns what a Release can be made from now, if anything.
    fn build<'a>(
        &mut self,
        seen: Seen<'a>,
        wanted: &'a Wanted<'a>,
        stack: &'a Result<BuildStack, String>,
    ) -> Option<Ready<'a>> {
        let source = match (&wanted.source, &wanted.spec.image) {
            (Some(source), _) => source,
            (None, Some(image)) => {
                self.report.build =
                    Step::Done(Reason::NoBuildNeeded, "the source is an image".to_owned());
                return Some(Ready {
                    revision: wanted.name.clone(),
                    revision_id: wanted.id.clone(),
                    image: Image::External(recorded(wanted).unwrap_or(image)),
                });
            }
            (None, None) => return None,
        };
        let stack = match stack {
            Ok(stack) => stack,
            Err(message) => {
                self.report.build = Step::Failed(Reason::StackMissing, message.clone());
                return self.last_good(seen);
            }
        };
        let builds = &seen.observed.builds;
        let verdict = wanted_build(seen, source, wanted.number, stack, builds);
        match verdict {
            build::Verdict::Exists(found) => self.found(seen, wanted, found),
            build::Verdict::Retry(found, at) => {
                self.due = Some(at);
                self.found(seen, wanted, found)
            }
            build::Verdict::Make { .. } if seen.valid.suspend => {
                self.report.build = Step::Working(Reason::Suspended, "a build is due".to_owned());
                None
            }
            build::Verdict::Make {
                name,
                inputs,
                attempt,
                cause,
                request,
            } => {
                let spec = BuildSpec {
                    inputs: Some(inputs),
                    attempt: Some(attempt),
                    cause,
                    request,
                    ..build_spec(seen, wanted, source.clone(), stack.clone())
                };
                self.make(seen, &name, spec);
                None
            }
        }
    }

    /// A new Build.
    fn make(&mut self, seen: Seen<'_>, name: &str, spec: BuildSpec) {
        let cause = &spec.cause;
        self.report.build = Step::Working(Reason::BuildCreated, format!("{name}: {cause}"));
        self.report.build_name = Some(name.to_owned());
        self.report.handled_rebuild.clone_from(&spec.request);
        let mut build = Build::new(name, spec);
        build.annotations_mut().extend([
            (labels::BUILD_ENV.to_owned(), seen.variables.found.clone()),
            (labels::BUILD_RETRIES.to_owned(), build::RETRIES.to_string()),
        ]);
        self.build = Some(owned(seen, build));
    }

    /// The wanted Build exists. Returns what a Release can be made from now, if anything.
    fn found<'a>(
        &mut self,
        seen: Seen<'a>,
        wanted: &Wanted<'_>,
        found: &'a Build,
    ) -> Option<Ready<'a>> {
        self.report.build = words::build(found, &seen.valid.namespace, self.due);
        self.report.build_name = Some(found.name_any());
        self.report.handled_rebuild.clone_from(&found.spec.request);
        let phase = found.status.as_ref().map(|s| s.phase).unwrap_or_default();
        if matches!(phase, BuildPhase::Succeeded | BuildPhase::Failed) {
            let outdated = build::outdated(found, &seen.valid.build);
            self.report.notes.extend(words::outdated(&outdated));
        }
        let said = found.status.iter().flat_map(|s| &s.notes).cloned();
        self.report.notes.extend(said);
        match phase {
            BuildPhase::Succeeded => Some(Ready {
                revision: wanted.name.clone(),
                revision_id: wanted.id.clone(),
                image: Image::Built(found),
            }),
            BuildPhase::Failed | BuildPhase::Cancelled => self.last_good(seen),
            BuildPhase::Pending
            | BuildPhase::Fetching
            | BuildPhase::Building
            | BuildPhase::Exporting => None,
        }
    }

    /// While the newest commit cannot be built, the last good image still follows config and spec.
    fn last_good<'a>(&mut self, seen: Seen<'a>) -> Option<Ready<'a>> {
        let target = release::target(&seen.observed.releases)?;
        let name = target.spec.build.as_deref()?;
        let build = seen
            .observed
            .builds
            .iter()
            .find(|b| b.metadata.name.as_deref() == Some(name))?;
        self.report.notes.push(format!(
            "changes of config and spec go on with the image of {}, the last one that was built",
            target.spec.revision_id
        ));
        Some(Ready {
            revision: target.spec.revision.clone(),
            revision_id: target.spec.revision_id.clone(),
            image: Image::Built(build),
        })
    }

    /// Plans the wanted Release. Returns the name of the Secret with its config.
    fn release(&mut self, seen: Seen<'_>, ready: &Ready<'_>) -> Option<String> {
        let config = self.snapshot(seen)?;
        let secret = config_secret(seen.valid, &config, seen.key);
        let Some(spec) = self.draft(seen, ready, &secret) else {
            return Some(secret);
        };
        let suspended = seen.valid.suspend;
        if !suspended {
            self.acknowledge(seen, ready);
            if !seen.observed.has_config(&secret) {
                self.config = Some(config_object(seen, &secret, &config));
            }
        }
        match release::verdict(&release_input(seen, &spec, &config)) {
            release::Verdict::Exists(found) => self.released(seen, found, &spec),
            release::Verdict::Make { cause, .. } if suspended => {
                let due = format!("a release is due: {cause}");
                self.report.release = Step::Working(Reason::Suspended, due);
            }
            release::Verdict::Make {
                number,
                cause,
                inputs,
            } => {
                let spec = ReleaseSpec {
                    number,
                    cause,
                    inputs,
                    ..spec
                };
                self.make_release(seen, spec);
            }
        }
        Some(secret)
    }

    /// The App's config as it is now; `None` if something that it refers to is missing.
    fn snapshot(&mut self, seen: Seen<'_>) -> Option<Config> {
        match snapshot(seen.valid, &seen.observed.referred) {
            Ok(snapshot) => {
                self.report.notes.extend(snapshot.notes);
                Some(snapshot.config)
            }
            Err(error) => {
                let reason = match error {
                    ConfigError::Missing(_) => Reason::ReferenceMissing,
                    ConfigError::TooMuch(_) | ConfigError::Env(_) => Reason::InvalidSpec,
                };
                self.no_release(seen, reason, &error.to_string());
                None
            }
        }
    }

    /// What the next Release would be; `None` if the image or the spec does not allow one.
    fn draft(&mut self, seen: Seen<'_>, ready: &Ready<'_>, secret: &str) -> Option<ReleaseSpec> {
        let origin = Origin {
            revision: &ready.revision,
            revision_id: &ready.revision_id,
            image: ready.image,
        };
        let claims = &seen.observed.claims;
        let before = release::newest(&seen.observed.releases).map(|newest| newest.spec.port);
        let secret = secret.to_owned();
        match draft(
            seen.valid,
            &origin,
            secret,
            &claims.shared,
            seen.site,
            before,
        ) {
            Ok(Draft { spec, notes }) => {
                self.report.notes.extend(notes);
                let storage = &seen.app.spec.storage;
                let sizes = words::sizes(storage, &claims.sizes);
                self.report.notes.extend(sizes);
                Some(spec)
            }
            Err(error) => {
                self.no_release(seen, error.reason(), &error.to_string());
                None
            }
        }
    }

    /// Reports that no Release can be made.
    fn no_release(&mut self, seen: Seen<'_>, reason: Reason, why: &str) {
        let meanwhile = words::meanwhile(&seen.observed.releases);
        self.report.release = Step::Failed(reason, format!("{why}{meanwhile}"));
    }

    /// Notes the requests that a Release answers: the one to render it again and, if the App runs somebody else's image
    /// so that nothing is built, also the one to rebuild.
    fn acknowledge(&mut self, seen: Seen<'_>, ready: &Ready<'_>) {
        let valid = seen.valid;
        self.report
            .handled_rerender
            .clone_from(&valid.rerender_requested);
        if matches!(ready.image, Image::External(_)) {
            self.report
                .handled_rebuild
                .clone_from(&valid.rebuild_requested);
        }
    }

    /// The wanted Release exists.
    fn released(&mut self, seen: Seen<'_>, found: &Release, draft: &ReleaseSpec) {
        let (name, releases) = (found.name_any(), &seen.observed.releases);
        let said = format!("{name}: {}", found.spec.cause);
        self.report.current = Some(name);
        self.report.release = Step::Done(Reason::ReleaseCreated, said);
        let again = release::newest(releases)
            .filter(|newest| newest.spec.number == found.spec.number)
            .and_then(|_| release::retry_at(releases));
        self.due = self.due.into_iter().chain(again).min();
        let app = &seen.valid.name;
        self.report.rollout = words::rollout(found, release::serving(releases), app, again);
        self.report.notes.extend(words::settings(found, draft));
        let (asked, running) = (&seen.valid.processes, &seen.observed.deployments);
        self.report.scale = running::scale(found, asked, running);
        let scaled = running::scaled_by(asked, running);
        self.report.notes.extend(scaled);
    }

    /// A new Release.
    fn make_release(&mut self, seen: Seen<'_>, spec: ReleaseSpec) {
        let name = names::release(&seen.valid.name, spec.number);
        let said = format!("{name}: {}", spec.cause);
        self.report.release = Step::Working(Reason::ReleaseCreated, said);
        self.report.release_number = Some(spec.number);
        self.release = Some(owned(seen, Release::new(&name, spec)));
        self.report.release_name = Some(name);
    }

    fn retire(&mut self, seen: Seen<'_>, wanted: &Wanted<'_>, config: Option<&str>) {
        let configs: BTreeSet<String> = seen
            .observed
            .config_secrets
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        self.retired = retire::retired(&retire::Input {
            revisions: &seen.observed.revisions,
            builds: &seen.observed.builds,
            releases: &seen.observed.releases,
            configs: &configs,
            revision: Some(&wanted.name),
            build: self.report.build_name.as_deref(),
            config,
            limit: seen.valid.history_limit,
        });
        // Without a config no config Secret may be deleted: the next Release may need one of them.
        if config.is_none() {
            self.retired.configs.clear();
        }
    }
}

fn release_input<'a>(
    seen: Seen<'a>,
    draft: &'a ReleaseSpec,
    config: &'a Config,
) -> release::Input<'a> {
    let status = seen.app.status.as_ref();
    let is_new =
        |asked: Option<&String>, handled: Option<&String>| asked.is_some() && asked != handled;
    let rebuilt = status.and_then(|s| s.last_handled_rebuild_at.as_ref());
    let rerendered = status.and_then(|s| s.last_handled_rerender_at.as_ref());
    release::Input {
        draft,
        config,
        releases: &seen.observed.releases,
        configs: &seen.observed.configs,
        retry: is_new(seen.valid.rebuild_requested.as_ref(), rebuilt),
        rerender: is_new(seen.valid.rerender_requested.as_ref(), rerendered),
        last: status.and_then(|s| s.last_release_number),
        now: seen.now,
    }
}

fn stack(seen: Seen<'_>) -> Result<BuildStack, String> {
    let name = &seen.valid.build.stack;
    if let Some(said) = &seen.observed.unreadable_stack {
        return Err(said.clone());
    }
    let Some(Stack { spec, .. }) = &seen.observed.stack else {
        return Err(format!(
            "Stack {name} does not exist: an administrator has to make it, or spec.build.stack has to name another"
        ));
    };
    if spec.packs.is_empty() && seen.valid.build.buildpacks.is_empty() {
        return Err(format!(
            "Stack {name} has no buildpacks: an administrator has to list some, or spec.build.buildpacks has to name some by address"
        ));
    }
    Ok(BuildStack {
        name: name.clone(),
        stack_name: spec.stack_name.clone().unwrap_or_else(|| name.clone()),
        build_image: spec.build_image.clone(),
        run_image: spec.run_image.clone(),
        user_id: spec.user_id.unwrap_or(USER),
        packs: spec.packs.clone(),
    })
}

/// The spec of a new Build, without its attempt and its cause.
fn build_spec(
    seen: Seen<'_>,
    wanted: &Wanted<'_>,
    source: BuildSource,
    stack: BuildStack,
) -> BuildSpec {
    let inputs = &seen.valid.build;
    BuildSpec {
        app: wanted.spec.app.clone(),
        revision: wanted.name.clone(),
        revision_number: wanted.number,
        source,
        stack,
        buildpacks: inputs.buildpacks.clone(),
        env: inputs.env.clone(),
        timeout: inputs
            .own_timeout
            .unwrap_or_else(|| Duration::from_secs(inputs.timeout.as_secs().max(1))),
        resources: inputs.resources.clone(),
        ..BuildSpec::default()
    }
}

fn config_object(seen: Seen<'_>, name: &str, config: &Config) -> Secret {
    let data = config
        .values()
        .iter()
        .map(|(name, value)| (name.clone(), ByteString(value.clone().into_bytes())))
        .collect();
    let open: Vec<&str> = config.open().iter().map(String::as_str).collect();
    // Without this list all variables count as confidential.
    let open = Some(open.join(",")).filter(|names| (1..=OPEN_MAX).contains(&names.len()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: open.map(|names| [(labels::OPEN_VARIABLES.to_owned(), names)].into()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    owned(seen, secret)
}
