//! What is known of a source without a look-up: what this process found last and, until then, what the cluster
//! recorded.

use std::{
    collections::BTreeMap,
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
    entries: Mutex<BTreeMap<String, Entry>>,
}

/// What one look-up found.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What was looked up.
    pub(super) source: LookUp,
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

impl Memory {
    /// Remembers nothing.
    pub(super) const fn new(started: Timestamp) -> Self {
        Self {
            started,
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn get(&self, uid: &str, now: Timestamp) -> Option<Entry> {
        let mut entries = self.lock();
        let entry = entries.get_mut(uid)?;
        entry.used = now;
        Some(entry.clone())
    }

    /// Remembers an entry, and forgets Apps that are gone: some deletions cause no reconcile.
    pub(super) fn put(&self, uid: &str, entry: Entry) {
        let mut entries = self.lock();
        entries.retain(|_, other| entry.used.duration_since(other.used) < GONE);
        entries.insert(uid.to_owned(), entry);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
