//! What is known of a source without a look-up: what this process found last and, until then, what the cluster
//! recorded.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    v1alpha1::{App, AppStatus, Revision, RevisionSpec},
};

use crate::{controllers::app::report::Step, source::schedule};
use slipway_core::{
    decide::revision,
    domain::app::{LookUp, ValidApp},
};

/// After a start: the longest wait for a look-up whose predecessor failed.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// An App that nobody has asked about for this long was deleted: each existing App is reconciled about once an hour.
const GONE: SignedDuration = SignedDuration::from_hours(6);

/// What was found last, by UID of the App.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) started: Timestamp,
    kept: Mutex<Entries>,
}

/// There may be one for each App, so each takes little room.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) by_uid: BTreeMap<Box<str>, Kept>,
    /// How many there may be before those of Apps that are gone are looked for.
    most: usize,
}

/// An [`Entry`] in less room.
#[derive(Debug)]
pub(super) struct Kept {
    source: u64,
    secret: Option<Box<str>>,
    /// A Revision's spec as JSON, or what went wrong.
    found: Result<Box<[u8]>, Box<Step>>,
    request: Option<Box<str>>,
    failures: u32,
    next: Option<Timestamp>,
    used: Timestamp,
}

impl Kept {
    fn of(entry: Entry) -> Option<Self> {
        let found = match entry.found {
            Ok(found) => Ok(serde_json::to_vec(&found).ok()?.into()),
            Err(step) => Err(Box::new(step)),
        };
        Some(Self {
            source: entry.source,
            secret: entry.secret.map(Into::into),
            found,
            request: entry.request.map(Into::into),
            failures: entry.failures,
            next: entry.next,
            used: entry.used,
        })
    }

    fn entry(&self) -> Option<Entry> {
        let found = match &self.found {
            Ok(found) => Ok(serde_json::from_slice(found).ok()?),
            Err(step) => Err(Step::clone(step)),
        };
        Some(Entry {
            source: self.source,
            secret: self.secret.as_deref().map(str::to_owned),
            found,
            request: self.request.as_deref().map(str::to_owned),
            failures: self.failures,
            next: self.next,
            used: self.used,
        })
    }
}

/// What one look-up found.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What was looked up, by its [`key`].
    pub(super) source: u64,
    /// Version of the Secret with the credentials.
    pub(super) secret: Option<String>,
    pub(super) found: Result<RevisionSpec, Step>,
    /// The request that the look-up was made for.
    pub(super) request: Option<String>,
    /// How many look-ups failed, one after another.
    pub(super) failures: u32,
    /// When the next one is due.
    pub(super) next: Option<Timestamp>,
    /// When it was asked for last.
    pub(super) used: Timestamp,
}

/// Tells what is looked up from everything else that the same App may have looked up.
pub(super) fn key(source: &LookUp) -> u64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

impl Memory {
    /// Remembers nothing.
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            started,
            kept: Mutex::default(),
        }
    }

    pub(super) fn get(&self, uid: &str, now: Timestamp) -> Option<Entry> {
        let mut entries = self.lock();
        let kept = entries.by_uid.get_mut(uid)?;
        kept.used = now;
        kept.entry()
    }

    /// Remembers an entry. Now and then forgets Apps that are gone: some deletions cause no reconcile.
    pub(super) fn put(&self, uid: &str, entry: Entry) {
        let now = entry.used;
        let Some(kept) = Kept::of(entry) else {
            return;
        };
        let mut entries = self.lock();
        if entries.by_uid.len() >= entries.most {
            let by_uid = &mut entries.by_uid;
            by_uid.retain(|_, other| now.duration_since(other.used) < GONE);
            entries.most = (2 * entries.by_uid.len()).max(1);
        }
        entries.by_uid.insert(uid.into(), kept);
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().by_uid.remove(uid);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Entries> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the cluster has recorded of a source, used while this process knows nothing newer.
pub(super) struct Known<'a> {
    /// The Revision that counts.
    pub(super) revision: &'a RevisionSpec,
    /// Whether the Revision is the complete result of the last look-up: it succeeded, and the status says so.
    pub(super) certain: bool,
}

pub(super) fn known<'a>(
    app: &ValidApp,
    status: Option<&AppStatus>,
    revisions: &'a [Revision],
) -> Option<Known<'a>> {
    let known = revision::known(&app.source, status, revisions)?;
    let found = status.is_some_and(|status| status.is(types::SOURCE_READY, "True"));
    Some(Known {
        revision: &known.revision.spec,
        certain: found && known.told,
    })
}

/// Why the last look-up failed, according to the status. It holds until the next look-up.
pub(super) fn last_trouble(app: &App) -> Option<Step> {
    let source = app
        .condition(types::SOURCE_READY)
        .filter(|c| c.status == "False" && c.observed_generation == app.metadata.generation)?;
    let reason = [
        Reason::SourceUnavailable,
        Reason::SourceNotFound,
        Reason::PlatformMismatch,
        Reason::ReferenceMissing,
    ]
    .into_iter()
    .find(|reason| reason.as_str() == source.reason)?;
    let stalled = app
        .condition(types::STALLED)
        .is_some_and(|c| c.status == "True" && c.reason == source.reason);
    let message = source.message.clone();
    Some(if stalled {
        Step::Failed(reason, message)
    } else {
        Step::Retrying(reason, message)
    })
}

/// When this process looks a source up for the first time.
pub(super) fn first_look(
    uid: &str,
    source: &LookUp,
    known: Option<&Known<'_>>,
    started: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    let within = |wait| Some(schedule::after_start(uid, started, wait));
    match (known, source) {
        (None, _) => Some(now),
        (Some(known), LookUp::Git(git)) if known.certain => within(git.interval),
        (Some(known), LookUp::Image(_)) if known.certain => None,
        (Some(_), LookUp::Git(git)) => within(git.interval.min(SOON)),
        (Some(_), LookUp::Image(_)) => within(SOON),
    }
}
