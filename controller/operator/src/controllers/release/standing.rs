//! A serving Release is watched: if its pods fail, its status says why.

use slipway_core::{
    desired::{Applied, Objects},
    judge::{
        lines::Secrets,
        seen::Seen,
        serving::{self, Standing},
        status::Finding,
    },
};
use slipway_crds::v1alpha1::{App, Release};

use crate::controllers::{
    reconcile::Outcome,
    release::{DOWN_AGAIN, ReleaseController, error::Error, observe, observed::Observed},
};

impl ReleaseController {
    /// Judges a Release that serves. Returns when to look again.
    pub(super) async fn watch_over(
        &self,
        app: &App,
        release: &Release,
        applied: &Objects<Applied>,
        observed: &Observed,
    ) -> Result<Outcome, Error> {
        if serving::is_whole(release, &applied.deployments, &observed.replica_sets) {
            self.record(app, release, &Finding::Serving).await?;
            return Ok(Outcome::Done);
        }
        let now = (self.clock)();
        let pods = observe::pods(&self.caches, release);
        let events = observe::events(&self.client, release, &pods, now).await?;
        let seen = Seen {
            release,
            deployments: &applied.deployments,
            replica_sets: &observed.replica_sets,
            pods: &pods,
            slices: None,
            events: &events,
            secrets: &Secrets::Unknown,
            started_at: now,
            now,
        };
        let trouble = match serving::evaluate(seen) {
            Standing::Unsure(after) => return Ok(Outcome::After(after)),
            Standing::Serves(after) => {
                self.record(app, release, &Finding::Serving).await?;
                return Ok(after.map_or(Outcome::Done, Outcome::After));
            }
            Standing::Down(trouble) => trouble,
        };
        let secrets = observe::secrets(&self.client, app, release).await?;
        let again = serving::evaluate(Seen {
            secrets: &secrets,
            ..seen
        });
        let trouble = match again {
            Standing::Down(trouble) => trouble,
            Standing::Serves(_) | Standing::Unsure(_) => trouble,
        };
        // Lines that were read once are kept: the next container's log may have fewer.
        let lines = if let Some(lines) = serving::told_lines(release, &trouble) {
            lines
        } else {
            let container = trouble.container.as_ref();
            observe::last_lines(&self.client, release, container, &secrets).await
        };
        self.record(app, release, &Finding::Down(&trouble, &lines))
            .await?;
        Ok(Outcome::After(DOWN_AGAIN))
    }
}
