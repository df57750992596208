//! A check that failed → the request, and the answer.

use k8s_openapi::api::core::v1::ContainerStatus;
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{Check, CheckType, Release},
};

use crate::{
    domain::checks::{Kind, asked, kind},
    judge::trouble::{found::Trouble, subject::Subject},
};

impl Subject<'_> {
    /// The last failed probe of a running container.
    pub(super) fn probe_failed(&self) -> Option<Trouble> {
        let process = self.process();
        let mut containers = self
            .pod
            .status
            .as_ref()?
            .container_statuses
            .iter()
            .flatten();
        let container = containers.find(|container| container.name == process)?;
        [
            CheckType::Startup,
            CheckType::Readiness,
            CheckType::Liveness,
        ]
        .into_iter()
        .find(|r#type| self.came_back(*r#type, container).is_some())
        .map(|r#type| self.check_failed(r#type, container))
    }

    pub(super) fn was_ended_for(&self, container: &ContainerStatus, r#type: CheckType) -> bool {
        let why = format!("failed {} probe", word(r#type));
        self.last(container, "Killing", &why).is_some()
    }

    pub(super) fn check_failed(&self, r#type: CheckType, container: &ContainerStatus) -> Trouble {
        let of = |r#type| checks(self.seen.release, &self.process(), r#type);
        let (checks, failed) = match of(r#type) {
            // Without a startup check, a process has started once its liveness checks pass.
            none if none.is_empty() && r#type == CheckType::Startup => (
                of(CheckType::Liveness),
                "its liveness check has not passed once since it was started".to_owned(),
            ),
            checks => (checks, format!("its {} check failed", word(r#type))),
        };
        let asked: Vec<String> = checks.iter().map(|check| asked(check)).collect();
        let answer = self
            .came_back(r#type, container)
            .unwrap_or_else(|| "no answer that the node recorded".to_owned());
        let release = self.seen.release;
        let listens = checks.iter().any(|check| kind(check) == Kind::Listening);
        let advice = if listens && release.spec.image.external {
            format!(
                ". Name the port that the image listens on in spec.port: {} is asked now, on 0.0.0.0",
                release.spec.port
            )
        } else if listens {
            ". Listen on 0.0.0.0, at the port in $PORT".to_owned()
        } else {
            String::new()
        };
        let text = format!(
            "{failed}. Asked for: {}. Came back: {answer}{advice}",
            asked.join(", and ")
        );
        self.trouble(Reason::ChecksFailed, &text, Some(container))
    }

    fn came_back(&self, r#type: CheckType, container: &ContainerStatus) -> Option<String> {
        let begin = match r#type {
            CheckType::Startup => "Startup probe",
            CheckType::Readiness => "Readiness probe",
            CheckType::Liveness => "Liveness probe",
        };
        let said = self.last(container, "Unhealthy", begin)?;
        let answer = said
            .split_once(": ")
            .map_or(said.as_str(), |(_, answer)| answer);
        Some(self.words(answer)).filter(|answer| !answer.is_empty())
    }
}

const fn word(r#type: CheckType) -> &'static str {
    match r#type {
        CheckType::Startup => "startup",
        CheckType::Readiness => "readiness",
        CheckType::Liveness => "liveness",
    }
}

fn checks<'a>(release: &'a Release, process: &str, r#type: CheckType) -> Vec<&'a Check> {
    release
        .spec
        .processes
        .get(process)
        .into_iter()
        .flat_map(|process| &process.checks)
        .filter(|check| check.r#type == r#type && kind(check) != Kind::Uptime)
        .collect()
}
