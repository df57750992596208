//! An App's Releases, step by step.

mod inputs;
mod retry;
mod target;

use crate::{
    decide::release::{Input, Verdict, verdict},
    domain::env::{Config, Entry, Origin},
};
use jiff::Timestamp;
use slipway_crds::v1alpha1::{Release, ReleasePhase, ReleaseProcess, ReleaseSpec, ReleaseStatus};
use std::collections::BTreeMap;

pub(super) fn config(entries: &[(&str, &str)]) -> Config {
    Config::merge(entries.iter().map(|(name, value)| Entry {
        name: (*name).into(),
        value: (*value).into(),
        origin: Origin::Literal,
    }))
    .unwrap()
}

pub(super) struct World {
    pub(super) draft: ReleaseSpec,
    pub(super) configs: BTreeMap<String, Config>,
    pub(super) releases: Vec<Release>,
    pub(super) retry: bool,
    pub(super) rerender: bool,
    pub(super) last: Option<i64>,
    pub(super) now: Timestamp,
}

impl World {
    pub(super) fn new() -> Self {
        let mut draft = ReleaseSpec {
            revision_id: "abc".into(),
            build: Some("b-1".into()),
            config_secret: "c-1".into(),
            port: 5000,
            ..ReleaseSpec::default()
        };
        draft.image.reference = "slipway/team/hello@sha256:1".into();
        draft.processes.insert(
            "web".into(),
            ReleaseProcess {
                replicas: 1,
                ..ReleaseProcess::default()
            },
        );
        let configs = BTreeMap::from([("c-1".to_owned(), config(&[("GREETING", "hello")]))]);
        Self {
            draft,
            configs,
            releases: Vec::new(),
            retry: false,
            rerender: false,
            last: None,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    pub(super) fn web(&mut self) -> &mut ReleaseProcess {
        self.draft.processes.get_mut("web").unwrap()
    }

    pub(super) fn verdict(&self) -> Verdict<'_> {
        verdict(&Input {
            draft: &self.draft,
            config: &self.configs[&self.draft.config_secret],
            releases: &self.releases,
            configs: &self.configs,
            retry: self.retry,
            rerender: self.rerender,
            last: self.last,
            now: self.now,
        })
    }

    /// Makes the wanted Release and gives it this phase. Returns its number and cause, or which Release existed.
    pub(super) fn make(&mut self, phase: ReleasePhase) -> String {
        let (number, cause, inputs) = match self.verdict() {
            Verdict::Exists(release) => return format!("v{} exists", release.spec.number),
            Verdict::Make {
                number,
                cause,
                inputs,
            } => (number, cause, inputs),
        };
        let mut release = Release::new(
            "x",
            ReleaseSpec {
                number,
                inputs,
                ..self.draft.clone()
            },
        );
        release.status = Some(ReleaseStatus {
            phase,
            ..ReleaseStatus::default()
        });
        self.releases.push(release);
        format!("v{number} {cause}")
    }
}
