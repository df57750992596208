//! One reconcile of an App: the target's objects are written, its roll-out is judged, and what is no longer needed is
//! deleted.

use kube::ResourceExt as _;
use slipway_core::{
    desired::{Applied, Objects},
    judge::{
        lines::Secrets,
        rollout::{self, Verdict},
        seen::Seen,
        status::{self, Finding},
        times,
    },
};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Release, ReleasePhase},
};
use slipway_k8s::events::EventType;

use crate::controllers::{
    reconcile::Outcome,
    release::{
        NEXT, ReleaseController, apply,
        error::Error,
        kind::{Place, Written},
        kinds::KINDS,
        observe,
        observed::Observed,
        plan::{self, Plan, Target},
    },
};

impl ReleaseController {
    pub(super) async fn roll(&self, app: &App, observed: &Observed) -> Result<Outcome, Error> {
        let Some(Plan { target, objects }) = plan::plan(app, observed, &self.site)? else {
            return Ok(Outcome::Done);
        };
        let namespace = app.namespace().unwrap_or_default();
        let place = Place {
            client: &self.client,
            caches: &self.caches,
            namespace: &namespace,
        };
        let mut applied = Objects::default();
        let refused = {
            let now = Written::BeforeServing;
            apply::apply(KINDS, now, place, &objects, &mut applied).await?
        };
        self.say_if_back(app, target, observed).await;
        let (serves, outcome) = self
            .judge(app, target, &applied, observed, refused.as_ref())
            .await?;
        self.supersede(app, target.release, observed, serves)
            .await?;
        let refused = if serves {
            let now = Written::OnceItServes;
            apply::apply(KINDS, now, place, &objects, &mut applied)
                .await?
                .or(refused)
        } else {
            refused
        };
        if serves || target.stopped {
            let of = (app, target.release);
            apply::prune(KINDS, place, &observed.objects, &objects, of).await?;
        }
        match refused {
            Some(error) if plan::phase(target.release) == ReleasePhase::Serving => Err(error),
            // The roll-out reports its own findings; the next reconcile reports the refusal.
            Some(_) if serves => Ok(Outcome::After(NEXT)),
            _ => Ok(outcome),
        }
    }

    /// Reports that the operator goes back from a failed Release, as long as objects of that Release exist.
    async fn say_if_back(&self, app: &App, target: Target<'_>, observed: &Observed) {
        if let Some(failed) = target
            .back_from
            .filter(|_| plan::goes_back(observed, target))
        {
            let note = format!(
                "{} failed; going back to {}",
                failed.name_any(),
                target.release.name_any()
            );
            self.say(app, EventType::Normal, Reason::RolledBack, &note)
                .await;
        }
    }

    /// Marks the Releases below `target` that it took over from as superseded.
    async fn supersede(
        &self,
        app: &App,
        target: &Release,
        observed: &Observed,
        serves: bool,
    ) -> Result<(), Error> {
        for release in status::superseded(&observed.releases, target, serves) {
            if let Some(whole) = observe::whole(&self.client, &self.caches, release).await? {
                self.record(app, &whole, &Finding::Superseded(target))
                    .await?;
            }
        }
        Ok(())
    }

    /// Judges the target. Returns whether it serves, and when to look again.
    async fn judge(
        &self,
        app: &App,
        target: Target<'_>,
        applied: &Objects<Applied>,
        observed: &Observed,
        refused: Option<&Error>,
    ) -> Result<(bool, Outcome), Error> {
        let release = target.release;
        if target.stopped {
            return Ok((false, Outcome::Done));
        }
        if plan::phase(release) == ReleasePhase::Serving {
            // The caller reports the refusal.
            if refused.is_some() {
                return Ok((true, Outcome::Done));
            }
            let outcome = self.watch_over(app, release, applied, observed).await?;
            return Ok((true, outcome));
        }
        self.judge_roll_out(app, release, applied, observed).await
    }

    /// Judges a Release that rolls out. Returns whether it serves, and when to look again.
    async fn judge_roll_out(
        &self,
        app: &App,
        release: &Release,
        applied: &Objects<Applied>,
        observed: &Observed,
    ) -> Result<(bool, Outcome), Error> {
        let now = (self.clock)();
        // A pod that a slice names and that the pod cache does not have yet keeps the Release waiting.
        let service = applied.services.first();
        let slices = service.map(|service| observe::slices(&self.caches, app, service));
        let pods = observe::pods(&self.caches, release);
        let events = observe::events(&self.client, release, &pods, now).await?;
        let seen = Seen {
            release,
            deployments: &applied.deployments,
            replica_sets: &observed.replica_sets,
            pods: &pods,
            slices: slices.as_deref(),
            events: &events,
            secrets: &Secrets::Unknown,
            started_at: times::started_at(release, now),
            now,
        };
        let (verdict, secrets) = match rollout::evaluate(seen) {
            // The failure is stored in the status, so it is worded again with the secrets known and removed.
            Verdict::Failed(_) => {
                let secrets = observe::secrets(&self.client, app, release).await?;
                let seen = Seen {
                    secrets: &secrets,
                    ..seen
                };
                (rollout::evaluate(seen), secrets)
            }
            verdict => (verdict, Secrets::Unknown),
        };
        match verdict {
            Verdict::Serving => {
                self.record(app, release, &Finding::Serving).await?;
                Ok((true, Outcome::Done))
            }
            Verdict::Progressing { message, after } => {
                self.record(app, release, &Finding::Deploying(&message))
                    .await?;
                let after = times::not_before_asked(&pods, release, now, after);
                Ok((false, Outcome::After(after)))
            }
            Verdict::Failed(trouble) => {
                let container = trouble.container.as_ref();
                let lines = observe::last_lines(&self.client, release, container, &secrets).await;
                self.record(app, release, &Finding::Failed(&trouble, &lines))
                    .await?;
                Ok((false, Outcome::After(NEXT)))
            }
        }
    }
}
