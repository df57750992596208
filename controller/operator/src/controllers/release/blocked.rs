//! A Release whose objects cannot be written: what is reported about it, and when it is given up.

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

/// No watch covers an object of somebody else, because it lacks our labels.
const NAME_TAKEN_AGAIN: Duration = Duration::from_secs(30);

impl ReleaseController {
    /// Writes into the target's status why its objects cannot be written, unless that passes in a moment. In the end
    /// gives the target up; going back to the last good Release undoes what was written.
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
        // The message of a fault differs each time; a new message alone is not reported.
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

/// Why `release` is given up if its objects cannot be written: at once if they would be refused again unchanged,
/// otherwise when its time is over. A serving Release is not given up, and neither is one for an error that is not
/// about its objects.
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
