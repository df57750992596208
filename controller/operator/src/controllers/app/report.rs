//! What a reconcile found about an App, step by step: made by `plan`, read by `status`. Plain data.

use slipway_crds::{
    conditions::Reason,
    v1alpha1::{AppStatus, Release},
};

/// The state of one step from source to serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An earlier step is not there yet.
    Waiting(String),
    /// It is done, for what is wanted now.
    Done(Reason, String),
    /// It is under way.
    Working(Reason, String),
    /// It failed, and is tried again.
    Retrying(Reason, String),
    /// It failed, and somebody has to change something.
    Failed(Reason, String),
}

impl Step {
    /// Whether it is done.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done(..))
    }

    /// Its reason and what it says.
    pub(super) fn said(&self) -> (Reason, &str) {
        match self {
            Self::Waiting(message) => (Reason::Waiting, message),
            Self::Done(reason, message)
            | Self::Working(reason, message)
            | Self::Retrying(reason, message)
            | Self::Failed(reason, message) => (*reason, message),
        }
    }
}

/// The steps, and what else was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    /// The source was looked up.
    pub source: Step,
    /// Whether a Revision is known for the present spec although the last look-up failed: then this Revision counts.
    pub source_known: bool,
    /// The App has an image.
    pub build: Step,
    /// The App has a Release.
    pub release: Step,
    /// The Release passed its checks.
    pub rollout: Step,
    /// As many pods run as are wanted.
    pub scale: Step,
    /// Whether everything is to stay as it is.
    pub suspended: bool,
    /// Name of the wanted Revision, and its commit or digest, shortened.
    pub revision: Option<(String, String)>,
    /// Number of the newest Revision, including the one that is made now.
    pub revision_number: Option<i64>,
    /// Name of the wanted Build.
    pub build_name: Option<String>,
    /// Name of the newest Release, including the one that is made now.
    pub release_name: Option<String>,
    /// Number of the newest Release, including the one that is made now.
    pub release_number: Option<i64>,
    /// Name of the wanted Release.
    pub current: Option<String>,
    /// Whether it is not known which Release serves.
    pub unsure: bool,
    /// What no condition says.
    pub notes: Vec<String>,
    /// Value of the annotation that asked for a look-up, once it was done.
    pub handled_reconcile: Option<String>,
    /// Value of the annotation that asked for a build, once it was made.
    pub handled_rebuild: Option<String>,
    /// Value of the annotation that asked to render again with the current rules and settings, once a Release has them.
    pub handled_rerender: Option<String>,
}

impl Report {
    /// A report that says: nothing can be done before this is corrected.
    pub(super) fn stopped(reason: Reason, message: String) -> Self {
        let waiting = || Step::Waiting("waits until the spec can be carried out".to_owned());
        Self {
            source: Step::Failed(reason, message),
            source_known: false,
            build: waiting(),
            release: waiting(),
            rollout: waiting(),
            scale: waiting(),
            suspended: false,
            revision: None,
            revision_number: None,
            build_name: None,
            release_name: None,
            release_number: None,
            current: None,
            unsure: false,
            notes: Vec::new(),
            handled_reconcile: None,
            handled_rebuild: None,
            handled_rerender: None,
        }
    }

    /// A report that says: nothing can be done before all Releases can be read again.
    pub(super) fn unreadable(message: String) -> Self {
        let waiting = || Step::Waiting("waits until every Release can be read".to_owned());
        Self {
            build: waiting(),
            release: waiting(),
            rollout: waiting(),
            scale: waiting(),
            unsure: true,
            ..Self::stopped(Reason::RecordUnreadable, message)
        }
    }

    /// Whether it answers a request by annotation that `before` does not.
    pub(super) fn answers(&self, before: Option<&AppStatus>) -> bool {
        let is_new = |answer: &Option<String>, last: fn(&AppStatus) -> &Option<String>| {
            answer.is_some() && before.map(last) != Some(answer)
        };
        is_new(&self.handled_reconcile, |s| &s.last_handled_reconcile_at)
            || is_new(&self.handled_rebuild, |s| &s.last_handled_rebuild_at)
            || is_new(&self.handled_rerender, |s| &s.last_handled_rerender_at)
    }

    /// The first step that is not done, if any. A look-up that is being retried does not count if a Revision is known.
    pub(super) fn first_open(&self) -> Option<&Step> {
        let known = self.source_known && matches!(self.source, Step::Retrying(..));
        let source = (!known).then_some(&self.source);
        source
            .into_iter()
            .chain([&self.build, &self.release, &self.rollout, &self.scale])
            .find(|step| !step.is_done())
    }
}

/// What runs, as seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// Processes by name.
    pub processes: Vec<RunningProcess>,
    /// The address of `web`.
    pub url: Option<String>,
}

/// One Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunningProcess {
    /// Name of the process.
    pub name: String,
    /// How many are wanted.
    pub desired: i32,
    /// How many there are.
    pub replicas: i32,
    /// How many are ready.
    pub ready: i32,
}

/// Everything that a status is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The present status.
    pub before: Option<&'a AppStatus>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Name of the App.
    pub app: &'a str,
    /// What was found.
    pub report: &'a Report,
    /// The Release that serves.
    pub serving: Option<&'a Release>,
    /// What runs.
    pub running: &'a Running,
}
