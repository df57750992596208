//! A finding about a Release → its status, Events and metrics.

use kube::{Resource as _, ResourceExt as _};
use slipway_base::text::last_words;
use slipway_core::judge::status::{self, Finding};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Release, ReleasePhase},
};
use slipway_k8s::events::EventType;

use crate::controllers::release::{ReleaseController, apply, error::Error, plan};

impl ReleaseController {
    /// Writes the finding into the status, and emits an Event if it is news.
    pub(super) async fn record(
        &self,
        app: &App,
        release: &Release,
        finding: &Finding<'_>,
    ) -> Result<(), Error> {
        let status = status::status(release, finding, (self.clock)());
        if !apply::write_status(&self.client, &self.caches.releases, release, &status).await? {
            return Ok(());
        }
        self.count(release, finding);
        if let Some((kind, reason, note)) = news(release, finding) {
            self.say(app, kind, reason, &note).await;
        }
        Ok(())
    }

    /// Counts the end of a roll-out.
    fn count(&self, release: &Release, finding: &Finding<'_>) {
        let serves = match finding {
            Finding::Serving => true,
            Finding::Failed(..) => false,
            Finding::Deploying(_)
            | Finding::Down(..)
            | Finding::Superseded(_)
            | Finding::Blocked { .. } => return,
        };
        let began = match plan::phase(release) {
            ReleasePhase::Pending => release.creation_timestamp(),
            ReleasePhase::Deploying => release.status.as_ref().and_then(|s| s.started_at.clone()),
            _ => None,
        };
        if let Some(began) = began {
            let took = (self.clock)().duration_since(began.0);
            self.meters
                .ended(serves, took.try_into().unwrap_or_default());
        }
    }

    pub(super) async fn say(&self, app: &App, kind: EventType, reason: Reason, note: &str) {
        self.events
            .publish(&app.object_ref(&()), kind, reason, "Release", note)
            .await;
    }
}

/// The Event for a finding, if it is news.
fn news(release: &Release, finding: &Finding<'_>) -> Option<(EventType, Reason, String)> {
    let before = plan::phase(release);
    let name = release.name_any();
    Some(match finding {
        // Of a Release that has just been made, an Event says so already.
        Finding::Deploying(_)
            if !matches!(before, ReleasePhase::Pending | ReleasePhase::Deploying) =>
        {
            (
                EventType::Normal,
                Reason::Deploying,
                format!("{name} rolls out: {}", release.spec.cause),
            )
        }
        Finding::Serving if before != ReleasePhase::Serving => (
            EventType::Normal,
            Reason::Deployed,
            format!("{name} serves {}", release.spec.revision_id),
        ),
        Finding::Failed(trouble, lines) => {
            let last = last_words::of_release(lines, &trouble.message, &name);
            let note = format!("{name} failed: {}{last}", trouble.message);
            (EventType::Warning, trouble.reason, note)
        }
        // If pods are missing and no cause is known, the App reports that.
        Finding::Down(trouble, lines)
            if trouble.reason != Reason::Progressing
                && !status::is_for(release, trouble.reason) =>
        {
            let last = last_words::of_release(lines, &trouble.message, &name);
            let note = format!(
                "{name} does not run as it should: {}{last}",
                trouble.message
            );
            (EventType::Warning, trouble.reason, note)
        }
        Finding::Blocked {
            reason, message, ..
        } => (EventType::Warning, *reason, format!("{name}: {message}")),
        Finding::Down(..) | Finding::Deploying(_) | Finding::Serving | Finding::Superseded(_) => {
            return None;
        }
    })
}
