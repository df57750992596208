//! The state of Builds and Releases → steps, in words for the App's author. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    labels::{REBUILD_REQUESTED_AT, RERENDER_REQUESTED_AT},
    v1alpha1::{
        Build, BuildFailure, BuildPhase, BuildStatus, Quantity, Release, ReleasePhase, ReleaseSpec,
        Storage,
    },
};

use crate::controllers::app::{report::Step, seen::Seen};
use slipway_base::text::last_words;
use slipway_base::text::public_url;
use slipway_core::{
    decide::{chain::named, release},
    desired::quantity::{canonical, is_more},
};

/// The end of a failed Build's message from before the message itself contained the cause.
const LOOK_ABOVE: &str = "; its output above says why";

/// The step of the source.
pub(super) fn source(seen: Seen<'_>) -> Step {
    if let Some(trouble) = &seen.source.trouble {
        return trouble.clone();
    }
    let Some(spec) = &seen.source.revision else {
        let message = if seen.valid.suspend {
            "the source was never looked up"
        } else {
            "the source is looked up"
        };
        return Step::Working(Reason::ResolvingSource, message.to_owned());
    };
    let message = match (&spec.git, &spec.push, &spec.image) {
        (Some(git), ..) => {
            let url = public_url(&git.url);
            match git.r#ref.as_deref() {
                Some("HEAD") => format!("the default branch of {url} is at {}", git.commit),
                Some(name) => format!("{name} of {url} is at {}", git.commit),
                None => format!("commit {} of {url}", git.commit),
            }
        }
        (None, Some(push), _) => {
            let by = spec.pushed_by.as_deref().map(|who| format!(" by {who}"));
            let by = by.unwrap_or_default();
            format!("{} was pushed to {}{by}", push.commit, push.r#ref)
        }
        (None, None, Some(image)) => format!("{} is {}", image.reference, image.resolved),
        (None, None, None) => String::from("the source is known"),
    };
    Step::Done(Reason::RevisionCreated, message)
}

/// The step of a Build, and when the operator tries again by itself.
pub(super) fn build(build: &Build, namespace: &str, retry: Option<Timestamp>) -> Step {
    let name = build.name_any();
    let status = build.status.clone().unwrap_or_default();
    let said = status.condition(types::READY);
    let why = said.and_then(|c| Reason::named(&c.reason));
    let message = said.map(|c| c.message.clone()).unwrap_or_default();
    let log = format!("`slipway logs build {name} -n {namespace}` shows the log");
    match status.phase {
        BuildPhase::Succeeded => {
            let packs: Vec<&str> = status.packs.iter().map(|p| p.name.as_str()).collect();
            let with = if packs.is_empty() {
                String::new()
            } else {
                format!(" with {}", packs.join(", "))
            };
            let image = status.image.map(|i| i.to_string()).unwrap_or_default();
            Step::Done(
                Reason::BuildSucceeded,
                format!("Build {name} made {image}{with}"),
            )
        }
        BuildPhase::Failed => {
            let why = why.unwrap_or(Reason::BuildFailed);
            let text = failed_build(&name, &status, &message);
            match retry {
                Some(at) => {
                    Step::Retrying(why, format!("{text}; {log}; it is built again at {at:.0}"))
                }
                None => Step::Failed(why, format!("{text}; {log}; {}", again("builds it again"))),
            }
        }
        BuildPhase::Cancelled => Step::Failed(
            why.unwrap_or(Reason::BuildCancelled),
            format!(
                "Build {name} was cancelled; another commit, another build input or {}",
                again("builds again")
            ),
        ),
        BuildPhase::Pending => Step::Working(
            why.unwrap_or(Reason::BuildQueued),
            with_message(format!("Build {name} has not begun"), &message),
        ),
        BuildPhase::Fetching | BuildPhase::Building | BuildPhase::Exporting => Step::Working(
            why.unwrap_or(Reason::BuildRunning),
            with_message(format!("Build {name}"), &format!("{message}; {log}")),
        ),
    }
}

fn with_message(text: String, message: &str) -> String {
    if message.is_empty() {
        text
    } else {
        format!("{text}: {message}")
    }
}

fn failed_build(name: &str, status: &BuildStatus, message: &str) -> String {
    let Some(failure) = &status.failure else {
        return with_message(format!("Build {name} failed"), message);
    };
    let mut text = format!("Build {name} failed in {}", failure.step);
    let mut details = Vec::new();
    if let Some(pack) = &failure.pack {
        details.push(format!("buildpack {pack}"));
    }
    if let Some(code) = failure.exit_code {
        details.push(format!("exit code {code}"));
    }
    if !details.is_empty() {
        text = format!("{text} ({})", details.join(", "));
    }
    with_message(text, &failure_message(failure))
}

/// Why a Build failed. The message that an older operator wrote refers to output that is shown elsewhere.
fn failure_message(failure: &BuildFailure) -> String {
    let Some(what) = failure.message.strip_suffix(LOOK_ABOVE) else {
        return failure.message.clone();
    };
    match last_words::of_build(&failure.last_lines, &failure.message) {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    }
}

/// How the user asks for another attempt.
fn again(does: &str) -> String {
    format!("a new value of the annotation {REBUILD_REQUESTED_AT} {does}")
}

/// Names of variables whose values have changed since the image was built.
pub(super) fn outdated(names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| {
        format!(
            "a rebuild would see another value of {}; {}",
            named(names.iter().copied()),
            again("asks for one")
        )
    })
}

/// Claims that are larger than their entry asks for.
pub(super) fn sizes<'a>(
    storage: &'a [Storage],
    sizes: &'a BTreeMap<String, Quantity>,
) -> impl Iterator<Item = String> + 'a {
    storage.iter().filter_map(|storage| {
        let (asked, size) = (&storage.claim_template.as_ref()?.size, sizes.get(&storage.name)?);
        is_more(size, &canonical(asked)).then(|| {
            format!(
                "storage {}: {} is asked for, and the claim has {}: a claim never shrinks; ask for what it has, or move the data to another entry",
                storage.name, asked.0, size.0
            )
        })
    })
}

/// What an administrator has changed since, and what the pods do not have yet.
pub(super) fn settings(found: &Release, wanted: &ReleaseSpec) -> Option<String> {
    let (before, now) = (found.spec.site.as_ref()?, wanted.site.as_ref()?);
    let changed = release::changed_settings(before, now);
    (!changed.is_empty()).then(|| {
        format!(
            "an administrator has changed the {} of pods since {} was made: the next release has it, and a new value of the annotation {RERENDER_REQUESTED_AT} makes one",
            named(changed),
            found.name_any()
        )
    })
}

/// The step of a Release's roll-out, and when the operator tries again by itself.
pub(super) fn rollout(
    wanted: &Release,
    serving: Option<&Release>,
    app: &str,
    retry: Option<Timestamp>,
) -> Step {
    let name = wanted.name_any();
    let said = wanted.condition(types::READY);
    let why = said.and_then(|c| Reason::named(&c.reason));
    let message = said.map(|c| c.message.clone()).unwrap_or_default();
    let phase = release::phase(wanted);
    if phase == ReleasePhase::Failed {
        return failed_release(&name, wanted, &message, serving, retry);
    }
    if wanted.is(types::STALLED, "True")
        && let Some(stalled) = wanted.condition(types::STALLED)
    {
        return Step::Failed(
            why.unwrap_or(Reason::TemporaryFailure),
            with_message(name, &stalled.message),
        );
    }
    let is_ready = said.is_some_and(|c| c.status == "True");
    match phase {
        ReleasePhase::Serving if is_ready || said.is_none() => Step::Done(
            Reason::Deployed,
            format!("{name} serves {}", wanted.spec.revision_id),
        ),
        // It served before, and is down now; nobody has to ask for another attempt.
        ReleasePhase::Serving => {
            let failure = wanted.status.as_ref().and_then(|s| s.failure.as_ref());
            let lines = failure.map_or(&[][..], |f| f.last_lines.as_slice());
            let last = last_words::of_release(lines, &message, &name);
            Step::Retrying(
                why.unwrap_or(Reason::TemporaryFailure),
                with_message(name, &format!("{message}{last}")),
            )
        }
        ReleasePhase::Deploying => Step::Working(
            why.unwrap_or(Reason::Deploying),
            with_message(format!("{name} rolls out"), &message),
        ),
        ReleasePhase::Pending | ReleasePhase::Superseded => Step::Working(
            why.filter(|_| phase == ReleasePhase::Pending)
                .unwrap_or(Reason::Deploying),
            format!("{name} of {app} is about to roll out"),
        ),
        // Handled above.
        ReleasePhase::Failed => Step::Failed(Reason::ChecksFailed, message),
    }
}

fn failed_release(
    name: &str,
    release: &Release,
    message: &str,
    serving: Option<&Release>,
    retry: Option<Timestamp>,
) -> Step {
    let failure = release.status.as_ref().and_then(|s| s.failure.as_ref());
    let why = failure
        .and_then(|f| Reason::named(&f.reason))
        .unwrap_or(Reason::ChecksFailed);
    let mut text = with_message(
        format!("{name} failed"),
        failure.map_or(message, |f| f.message.as_str()),
    );
    if let Some(failure) = failure {
        text += &last_words::of_release(&failure.last_lines, &text, name);
    }
    let mut rest = serving.map_or_else(|| "nothing serves".to_owned(), serves_on);
    if let Some(at) = retry {
        return Step::Retrying(why, format!("{text}; {rest}; it is tried again at {at:.0}"));
    }
    if is_outside(why) {
        let does = if release.spec.build.is_some() {
            "builds and tries again"
        } else {
            "tries again"
        };
        rest = format!("{rest}; {}", again(does));
    }
    Step::Failed(why, format!("{text}; {rest}"))
}

/// What is added to the reason why there is no Release: which Release serves meanwhile.
pub(super) fn meanwhile(releases: &[Release]) -> String {
    release::serving(releases)
        .map_or_else(String::new, |release| format!("; {}", serves_on(release)))
}

/// The state of the Release that serves instead of a failed one.
fn serves_on(serving: &Release) -> String {
    let name = serving.name_any();
    match serving
        .condition(types::READY)
        .filter(|c| c.status == "False")
    {
        Some(unready) => format!("going back to {name}: {}", unready.message),
        None => format!("{name} serves on"),
    }
}

/// Whether the cause of a failed Release may lie outside the App, so that the same Release may succeed another time.
const fn is_outside(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ImagePullFailed
            | Reason::RegistryUnavailable
            | Reason::Unschedulable
            | Reason::StoragePending
            | Reason::DeadlineExceeded
            | Reason::ContainerFailed
    )
}
