//! Where an App comes from → its Revision: what is known, and a look-up when one is due.
//!
//! ```text
//! a reconcile ─▶ what is known ─▶ is a look-up due? ─▶ queue ─▶ look-up ─▶ memory ─▶ another reconcile
//! ```
//!
//! No reconcile waits for a server. What was found last is remembered in this process only, so that an unchanged branch
//! causes no write. After a restart the App's status counts until the next look-up. These look-ups are spread over an
//! interval; one whose predecessor failed comes soon.

mod ask;
mod memory;
mod queue;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use jiff::Timestamp;
use slipway_crds::v1alpha1::{App, AppRef, AppStatus, RevisionSpec};

use crate::{
    controllers::app::{
        lookup::{
            ask::Wanted,
            memory::{Entry, Known, first_look, key, known, last_trouble},
        },
        observe::Observed,
        report::Step,
    },
    source::schedule,
};
use slipway_core::{
    decide::revision::{is_same, unasked},
    domain::app::{LookUp, ValidApp},
};

pub(super) use ask::LookUps;
#[cfg(test)]
pub(super) use tests::{clients, settings};

/// What an App's source is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// The wanted Revision, whether it exists or not.
    pub revision: Option<RevisionSpec>,
    /// Why the last look-up failed.
    pub trouble: Option<Step>,
    /// The request that a look-up answered with success.
    pub handled: Option<String>,
    /// When the next look-up is due.
    pub next: Option<Duration>,
    /// Whether a look-up was asked for just now.
    pub begun: bool,
}

/// What the App's source is now.
pub(super) fn source(
    look_ups: &LookUps,
    app: &App,
    valid: &ValidApp,
    observed: &Observed,
    now: Timestamp,
) -> Source {
    let status = app.status.as_ref();
    let known = known(valid, status, &observed.revisions);
    let Some(look_up) = valid.source.look_up() else {
        let known = known.map(|known| known.revision);
        return Source {
            revision: unasked(app_ref(valid), &valid.source, known),
            trouble: None,
            handled: valid.reconcile_requested.clone(),
            next: None,
            begun: false,
        };
    };
    if valid.suspend {
        return Source {
            revision: known.map(|known| known.revision.clone()),
            trouble: None,
            handled: None,
            next: None,
            begun: false,
        };
    }
    let secret = secret_version(valid, observed);
    let entry = look_ups
        .memory
        .get(&valid.uid, now)
        .filter(|e| e.source == key(&look_up) && e.secret == secret);
    let due_at = entry.as_ref().map_or_else(
        || {
            let started = look_ups.memory.started;
            first_look(&valid.uid, &look_up, known.as_ref(), started, now)
        },
        |entry| entry.next,
    );
    let due = is_asked(valid, status, entry.as_ref()) || due_at.is_some_and(|at| at <= now);
    let begun = due
        && look_ups.ask(Wanted {
            app: app_ref(valid),
            namespace: valid.namespace.clone(),
            source: look_up,
            secret,
            request: valid.reconcile_requested.clone(),
            failures: entry.as_ref().map_or(0, |entry| entry.failures),
        });
    if let (Some(known), Some(entry)) = (&known, &entry)
        && matches!(valid.source.look_up(), Some(LookUp::Image(_)))
        && is_told(known, entry, status)
    {
        look_ups.memory.forget(&valid.uid);
    }
    let known = known.map(|known| known.revision.clone());
    // The end of a look-up triggers the next reconcile.
    let next = due_at.filter(|_| !due).map(|at| schedule::until(at, now));
    Source {
        next,
        begun,
        ..told(app, entry, known)
    }
}

/// Whether the cluster has recorded everything that was found. Of an image, which is not looked up again by itself,
/// nothing has to be remembered then.
fn is_told(known: &Known<'_>, entry: &Entry, status: Option<&AppStatus>) -> bool {
    let handled = status.and_then(|status| status.last_handled_reconcile_at.as_ref());
    let found = entry.found.as_ref();
    known.certain
        && found.is_ok_and(|found| is_same(known.revision, found))
        && (entry.request.is_none() || entry.request.as_ref() == handled)
}

/// Whether a look-up was requested and has not been made yet.
fn is_asked(valid: &ValidApp, status: Option<&AppStatus>, entry: Option<&Entry>) -> bool {
    let handled = entry.map_or_else(
        || status.and_then(|s| s.last_handled_reconcile_at.clone()),
        |entry| entry.request.clone(),
    );
    valid.reconcile_requested.is_some() && valid.reconcile_requested != handled
}

/// What the last look-up found; if this process made none, what the status says of it.
fn told(app: &App, entry: Option<Entry>, known: Option<RevisionSpec>) -> Source {
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
        next: None,
        begun: false,
    }
}

fn secret_version(app: &ValidApp, observed: &Observed) -> Option<String> {
    let secret = observed.referred.secrets.get(app.source.secret()?);
    Some(secret.map(|s| s.version.clone()).unwrap_or_default())
}

fn app_ref(app: &ValidApp) -> AppRef {
    AppRef {
        name: app.name.clone(),
        uid: app.uid.clone(),
    }
}
