//! Where an App comes from → its Revision: what is known, or a look-up when one is due.
//!
//! What was found last is remembered in this process only: an unchanged branch makes no write. After a restart what
//! the App's status says counts until the next look-up, which is spread over an interval, and comes soon where the last
//! one did not work out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sha2::{Digest as _, Sha256};
use slipway_crds::{
    conditions::{Reason, types},
    names,
    v1alpha1::{
        App, AppRef, AppStatus, GitRevision, ImageRevision, Revision, RevisionBy, RevisionSpec,
    },
};
use tokio::sync::Semaphore;

use crate::{
    controllers::app::{
        observe::{Data, Observed},
        report::Step,
    },
    domain::app::{GitTarget, ValidApp, ValidGit, ValidImage, ValidSource},
    error::{Class, Classify as _},
    outside::Outside,
    settings::RegistrySettings,
    source::{
        git::{Access, Git, GitError},
        image, schedule,
    },
    zone::{credentials, input::GitCredentials},
};

/// First and longest wait after a look-up that did not work out.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_LONGEST: Duration = Duration::from_mins(5);
/// Look-ups at once. A server that does not answer holds up these, and no reconcile of anybody else.
pub(super) const AT_ONCE: usize = 4;
/// When to ask again whether there is room for a look-up.
const BUSY: Duration = Duration::from_secs(2);
/// After a start: the longest wait for a look-up where the last one did not work out.
const SOON: Duration = Duration::from_secs(30);
/// An App that nobody asked about for so long is gone; each that is there is looked at about once an hour.
const GONE: SignedDuration = SignedDuration::from_hours(6);

/// What an App's source is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// The wanted Revision, whether it exists or not.
    pub revision: Option<RevisionSpec>,
    /// Why the last look-up did not work out.
    pub trouble: Option<Step>,
    /// The request that was looked up for, with success.
    pub handled: Option<String>,
    /// When the next look-up is due.
    pub next: Option<Duration>,
}

/// What was found last, by UID of the App.
#[derive(Debug)]
pub(super) struct Memory {
    started: Timestamp,
    entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    source: ValidSource,
    secret: Option<String>,
    found: Result<RevisionSpec, Step>,
    request: Option<String>,
    failures: u32,
    next: Option<Timestamp>,
    /// When it was asked for last.
    used: Timestamp,
}

impl Memory {
    /// Remembers nothing.
    pub(super) const fn new(started: Timestamp) -> Self {
        Self {
            started,
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    fn get(&self, uid: &str, now: Timestamp) -> Option<Entry> {
        let mut entries = self.lock();
        let entry = entries.get_mut(uid)?;
        entry.used = now;
        Some(entry.clone())
    }

    /// Forgets Apps that are gone: of some deletions no reconcile tells.
    fn put(&self, uid: &str, entry: Entry) {
        let mut entries = self.lock();
        entries.retain(|_, other| entry.used.duration_since(other.used) < GONE);
        entries.insert(uid.to_owned(), entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What look-ups are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tools<'a> {
    /// The program.
    pub git: &'a Git,
    /// Our own registry.
    pub registry: &'a RegistrySettings,
    /// Where else registries may be.
    pub outside: &'a Outside,
    /// What is remembered.
    pub memory: &'a Memory,
    /// As many as may look at once.
    pub room: &'a Semaphore,
}

/// Name of a Revision: a hash of what it is.
pub(super) fn revision_name(app: &ValidApp, spec: &RevisionSpec) -> String {
    let what = match (&spec.git, &spec.image) {
        (Some(git), _) => serde_json::json!([app.uid, git.url, git.r#ref, git.commit]),
        (None, Some(image)) => {
            serde_json::json!([
                app.uid,
                image.reference,
                image.resolved,
                image.pull_secret_ref
            ])
        }
        (None, None) => serde_json::json!([app.uid]),
    };
    let hash = hex::encode(Sha256::digest(what.to_string()));
    names::hashed(&app.name, hash.get(..names::HASH).unwrap_or(&hash))
}

/// Whether a Revision is of what the spec says now.
fn matches(app: &ValidApp, revision: &RevisionSpec) -> bool {
    match (&app.source, &revision.git, &revision.image) {
        (ValidSource::Git(git), Some(found), _) => {
            found.url == git.url
                && match &git.target {
                    GitTarget::Commit(commit) => found.commit == *commit,
                    target => found.r#ref.as_deref() == Some(target.named().unwrap_or("HEAD")),
                }
        }
        (ValidSource::Image(image), None, Some(found)) => {
            found.reference == image.written
                && found.pull_secret_ref.as_ref().map(|s| &s.name) == image.pull_secret.as_ref()
        }
        _ => false,
    }
}

/// What the cluster knows of a source while this process knows nothing newer.
struct Known<'a> {
    /// The Revision that counts: the one that the status names, else the newest.
    revision: &'a RevisionSpec,
    /// Whether that is all that the last look-up found: it worked out, and its end was written down.
    certain: bool,
}

fn known<'a>(
    app: &ValidApp,
    status: Option<&AppStatus>,
    revisions: &'a [Revision],
) -> Option<Known<'a>> {
    let latest = status.and_then(|s| s.latest.as_ref()?.revision.as_deref());
    let is_latest = |r: &&Revision| latest.is_some() && r.metadata.name.as_deref() == latest;
    let of = || revisions.iter().filter(|r| matches(app, &r.spec));
    let newest = of().max_by_key(|r| r.metadata.creation_timestamp.as_ref().map(|t| t.0))?;
    let found = condition(status, types::SOURCE_READY).is_some_and(|c| c.status == "True");
    Some(Known {
        revision: &of().find(is_latest).unwrap_or(newest).spec,
        certain: found && is_latest(&newest),
    })
}

fn condition<'a>(status: Option<&'a AppStatus>, type_: &str) -> Option<&'a Condition> {
    status?.conditions.iter().find(|c| c.type_ == type_)
}

/// Why the last look-up did not work out, as the status says: until the next one that is so.
fn last_trouble(app: &App) -> Option<Step> {
    let status = app.status.as_ref();
    let source = condition(status, types::SOURCE_READY)
        .filter(|c| c.status == "False" && c.observed_generation == app.metadata.generation)?;
    let reason = [
        Reason::SourceUnavailable,
        Reason::SourceNotFound,
        Reason::ReferenceMissing,
    ]
    .into_iter()
    .find(|reason| reason.as_str() == source.reason)?;
    let stalled = condition(status, types::STALLED)
        .is_some_and(|c| c.status == "True" && c.reason == source.reason);
    let message = source.message.clone();
    Some(if stalled {
        Step::Failed(reason, message)
    } else {
        Step::Retrying(reason, message)
    })
}

/// When a source is looked up first by this process.
fn first_look(
    app: &ValidApp,
    known: Option<&Known<'_>>,
    started: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let within = |wait| Some(schedule::after_start(&app.uid, started, wait));
    match (known, &app.source) {
        (None, _) => Some(now),
        (Some(known), ValidSource::Git(git)) if known.certain => within(git.interval),
        (Some(known), ValidSource::Image(_)) if known.certain => None,
        (Some(_), ValidSource::Git(git)) => within(git.interval.min(SOON)),
        (Some(_), ValidSource::Image(_)) => within(SOON),
    }
}

/// What the App's source is now.
pub(super) async fn source(
    tools: Tools<'_>,
    app: &App,
    valid: &ValidApp,
    observed: &Observed,
    now: Timestamp,
) -> Source {
    let status = app.status.as_ref();
    let known = known(valid, status, &observed.revisions);
    if let ValidSource::Git(git) = &valid.source
        && let GitTarget::Commit(commit) = &git.target
    {
        return Source {
            revision: Some(of_commit(
                valid,
                git,
                commit.clone(),
                None,
                RevisionBy::Spec,
            )),
            trouble: None,
            handled: valid.reconcile_requested.clone(),
            next: None,
        };
    }
    if valid.suspend {
        return Source {
            revision: known.map(|known| known.revision.clone()),
            trouble: None,
            handled: None,
            next: None,
        };
    }
    let secret = secret_version(valid, observed);
    let entry = tools
        .memory
        .get(&valid.uid, now)
        .filter(|e| e.source == valid.source && e.secret == secret);
    let handled_before = entry.as_ref().map_or_else(
        || status.and_then(|s| s.last_handled_reconcile_at.clone()),
        |entry| entry.request.clone(),
    );
    let asked = valid.reconcile_requested.is_some() && valid.reconcile_requested != handled_before;
    let due_at = entry.as_ref().map_or_else(
        || first_look(valid, known.as_ref(), tools.memory.started, now),
        |entry| entry.next,
    );
    let mut next_at = due_at;
    let mut entry = entry;
    if asked || due_at.is_some_and(|at| at <= now) {
        if let Ok(_room) = tools.room.try_acquire() {
            let failures = entry.map_or(0, |entry| entry.failures);
            let looked = look(tools, valid, observed, secret, failures, now).await;
            tools.memory.put(&valid.uid, looked.clone());
            next_at = looked.next;
            entry = Some(looked);
        } else {
            next_at = Some(schedule::after(&valid.uid, now, BUSY));
        }
    }
    let known = known.map(|known| known.revision.clone());
    let (revision, trouble, handled) = match entry {
        Some(Entry {
            found: Ok(found),
            request,
            ..
        }) => (Some(found), None, request),
        Some(Entry {
            found: Err(step), ..
        }) => (known, Some(step), None),
        None => (known, last_trouble(app), None),
    };
    Source {
        revision,
        trouble,
        handled,
        next: next_at.map(|at| schedule::until(at, now)),
    }
}

fn secret_version(app: &ValidApp, observed: &Observed) -> Option<String> {
    let name = match &app.source {
        ValidSource::Git(git) => git.secret.as_ref(),
        ValidSource::Image(image) => image.pull_secret.as_ref(),
    }?;
    let secret = observed.referred.secrets.get(name);
    Some(
        secret
            .map(|secret| secret.version.clone())
            .unwrap_or_default(),
    )
}

async fn look(
    tools: Tools<'_>,
    app: &ValidApp,
    observed: &Observed,
    secret: Option<String>,
    failures: u32,
    now: Timestamp,
) -> Entry {
    let found = match &app.source {
        ValidSource::Git(git) => look_git(tools, app, git, observed).await,
        ValidSource::Image(image) => look_image(tools, app, image, observed).await,
    };
    let failures = if found.is_ok() { 0 } else { failures + 1 };
    let next = match (&found, &app.source) {
        (Ok(_), ValidSource::Git(git)) => Some(schedule::after(&app.uid, now, git.interval)),
        (Ok(_), ValidSource::Image(_)) => None,
        (Err(_), _) => {
            let wait = RETRY
                .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10)))
                .min(RETRY_LONGEST);
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_mins(5));
            now.checked_add(wait).ok()
        }
    };
    Entry {
        source: app.source.clone(),
        secret,
        found,
        request: app.reconcile_requested.clone(),
        failures,
        next,
        used: now,
    }
}

async fn look_git(
    tools: Tools<'_>,
    app: &ValidApp,
    git: &ValidGit,
    observed: &Observed,
) -> Result<RevisionSpec, Step> {
    let credentials = match &git.secret {
        None => None,
        Some(name) => Some((
            name,
            git_credentials(name, observed.referred.secrets.get(name))?,
        )),
    };
    let access = credentials.as_ref().map(|(secret, credentials)| Access {
        secret,
        credentials,
    });
    match tools.git.resolve(&git.url, &git.target, access).await {
        Ok(found) => Ok(of_commit(
            app,
            git,
            found.commit,
            Some(found.r#ref),
            RevisionBy::Poll,
        )),
        Err(error) => Err(git_trouble(&error)),
    }
}

fn git_trouble(error: &GitError) -> Step {
    let message = error.to_string();
    match error {
        GitError::NoSuchRef { .. } | GitError::NoSuchRepository { .. } => {
            Step::Failed(Reason::SourceNotFound, message)
        }
        GitError::Refused { .. } | GitError::Credentials { .. } | GitError::Forbidden { .. } => {
            Step::Failed(Reason::SourceUnavailable, message)
        }
        GitError::Unreachable { .. } => Step::Retrying(Reason::SourceUnavailable, message),
    }
}

fn git_credentials(name: &str, secret: Option<&Data>) -> Result<GitCredentials, Step> {
    let missing = |message: String| Step::Failed(Reason::ReferenceMissing, message);
    let Some(secret) = secret else {
        return Err(missing(format!(
            "Secret {name}, which source.git.secretRef names, does not exist: create it with {}",
            credentials::KEYS
        )));
    };
    credentials::git(secret.values()).ok_or_else(|| {
        missing(format!(
            "Secret {name}, which source.git.secretRef names, needs the keys {}",
            credentials::KEYS
        ))
    })
}

async fn look_image(
    tools: Tools<'_>,
    app: &ValidApp,
    wanted: &ValidImage,
    observed: &Observed,
) -> Result<RevisionSpec, Step> {
    let docker_config = match &wanted.pull_secret {
        None => None,
        Some(name) => Some(docker_config(name, observed.referred.secrets.get(name))?),
    };
    match image::resolve(wanted, docker_config, tools.registry, tools.outside).await {
        Ok(found) => Ok(of_image(app, found)),
        Err(error) => Err(image_trouble(&error, wanted)),
    }
}

fn image_trouble(error: &crate::registry::RegistryError, wanted: &ValidImage) -> Step {
    use crate::registry::RegistryError as E;
    let message = format!("{}: {}", wanted.written, crate::controllers::chain(error));
    let advice = match &wanted.pull_secret {
        Some(name) => format!("; the pull secret is {name}"),
        None => "; no pullSecretRef is given".to_owned(),
    };
    match (error, error.class()) {
        (E::NotFound { .. }, _) => Step::Failed(Reason::SourceNotFound, message + &advice),
        (E::Unauthorised { .. }, _) => Step::Failed(Reason::SourceUnavailable, message + &advice),
        (_, Class::Stalled) => Step::Failed(Reason::SourceUnavailable, message),
        _ => Step::Retrying(Reason::SourceUnavailable, message),
    }
}

fn docker_config<'a>(name: &str, secret: Option<&'a Data>) -> Result<&'a [u8], Step> {
    let Some(secret) = secret else {
        return Err(Step::Failed(
            Reason::ReferenceMissing,
            format!("Secret {name}, which source.image.pullSecretRef names, does not exist"),
        ));
    };
    let content = secret.values().get(image::DOCKER_CONFIG);
    content.map(Vec::as_slice).ok_or_else(|| {
        Step::Failed(
            Reason::ReferenceMissing,
            format!(
                "Secret {name}, which source.image.pullSecretRef names, is not of type kubernetes.io/dockerconfigjson: it has no key {}",
                image::DOCKER_CONFIG
            ),
        )
    })
}

fn app_ref(app: &ValidApp) -> AppRef {
    AppRef {
        name: app.name.clone(),
        uid: app.uid.clone(),
    }
}

fn of_commit(
    app: &ValidApp,
    git: &ValidGit,
    commit: String,
    r#ref: Option<String>,
    by: RevisionBy,
) -> RevisionSpec {
    RevisionSpec {
        app: app_ref(app),
        git: Some(GitRevision {
            url: git.url.clone(),
            r#ref,
            commit,
        }),
        image: None,
        by,
    }
}

fn of_image(app: &ValidApp, image: ImageRevision) -> RevisionSpec {
    let by = RevisionBy::Spec;
    RevisionSpec {
        app: app_ref(app),
        git: None,
        image: Some(image),
        by,
    }
}

#[cfg(test)]
mod tests;
