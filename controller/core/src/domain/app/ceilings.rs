//! What an administrator allows at most.

use slipway_crds::v1alpha1::{AppSpec, Duration, Quantity};

/// The most that an App gets, whatever it asks for. `None` is no maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// Time of a build.
    pub timeout: Option<Duration>,
    /// CPUs of a build.
    pub cpus: Option<Quantity>,
    /// Memory of a build.
    pub memory: Option<Quantity>,
    /// Number of ended Builds and of superseded Releases that are kept.
    pub history: Option<usize>,
}

impl Ceilings {
    /// Which of the App's settings they lower, in words.
    pub(super) fn cut(&self, spec: &AppSpec) -> Vec<String> {
        let build = spec.build.as_ref();
        let asked = build.and_then(|build| build.timeout);
        let timeout = match (asked, self.timeout) {
            (Some(asked), Some(most)) if asked > most => Some(format!(
                "spec.build.timeout is {asked}, and no build may take longer than {most} here"
            )),
            _ => None,
        };
        let limits = build.and_then(|build| build.resources.as_ref()?.limits.as_ref());
        let limit = |what, asked: Option<&Quantity>, most: Option<&Quantity>| {
            let (asked, most) = (asked?, most?);
            (asked.nanos()? > most.nanos()?).then(|| {
                format!(
                    "spec.build.resources.limits.{what} is {}, and no build gets more than {} here",
                    asked.0, most.0
                )
            })
        };
        let cpus = limit(
            "cpu",
            limits.and_then(|l| l.cpu.as_ref()),
            self.cpus.as_ref(),
        );
        let memory = limits.and_then(|l| l.memory.as_ref());
        let memory = limit("memory", memory, self.memory.as_ref());
        let asked = spec.history_limit.and_then(|n| usize::try_from(n).ok());
        let history = match (asked, self.history) {
            (Some(asked), Some(most)) if asked > most => Some(format!(
                "spec.historyLimit is {asked}, and no more than {most} are kept here"
            )),
            _ => None,
        };
        [timeout, cpus, memory, history]
            .into_iter()
            .flatten()
            .collect()
    }
}
