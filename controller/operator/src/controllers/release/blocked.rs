//! A Release whose objects cannot be written: what is told of it, and when it is given up.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use slipway_base::error::{Class, Classify as _};
use slipway_core::judge::{
    rollout,
    status::{self, Finding},
    times,
    trouble::{self, Trouble},
};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Release, ReleasePhase},
};
use slipway_k8s::apply::ApplyError;

use crate::controllers::{
    reconcile::Outcome,
    release::{NEXT, ReleaseController, error::Error, observed::Observed, plan},
};

/// Somebody else's object has no label of ours to be watched by.
const NAME_TAKEN_AGAIN: Duration = Duration::from_secs(30);

impl ReleaseController {
    /// Says in the target's status why its objects cannot be written, where that will not pass in a moment, and in the
    /// end gives the target up: what was written of it is undone by the way back.
    pub(super) async fn blocked(
        &self,
        app: &App,
        observed: &Observed,
        error: Error,
    ) -> Result<Outcome, Error> {
        let release = match plan::target(&observed.releases) {
            Some(target) if !target.stopped && error.is_told() => target.release,
            _ => return Err(error),
        };
        if let Some(trouble) = given_up(release, &error, (self.clock)()) {
            self.record(app, release, &Finding::Failed(&trouble, &[]))
                .await?;
            return Ok(Outcome::After(NEXT));
        }
        let reason = error.reason();
        // A fault has other words each time: they are no news.
        if error.is_fault() && status::is_for(release, reason) {
            return Err(error);
        }
        let finding = Finding::Blocked {
            reason,
            message: &error.said(),
            stalled: error.class() == Class::Stalled,
        };
        self.record(app, release, &finding).await?;
        if reason == Reason::NameTaken {
            return Ok(Outcome::After(NAME_TAKEN_AGAIN));
        }
        Err(error)
    }
}

/// Why `release` is given up, where its objects cannot be written: at once if they will be refused again as they are,
/// else when its time is over. One that serves is not given up, and what is not about its objects is no reason.
pub(super) fn given_up(release: &Release, error: &Error, now: Timestamp) -> Option<Trouble> {
    let Error::Apply(ApplyError::Api { .. }) = error else {
        return None;
    };
    if plan::phase(release) == ReleasePhase::Serving {
        return None;
    }
    let trouble = |reason| Trouble {
        reason,
        message: error.said(),
        process: None,
        container: None,
    };
    if error.class() == Class::Stalled {
        return Some(trouble(error.reason()));
    }
    let left = rollout::left(release, times::tried_since(release, now), now);
    (left <= SignedDuration::ZERO)
        .then(|| trouble::at_the_deadline(release, Some(trouble(Reason::DeadlineExceeded)), ""))
}
