//! A pod that is not ready → what is wrong with it, whether that can pass by itself, and what to do. Pure.

mod check;
mod container;
mod found;
mod subject;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt as _;
use slipway_crds::{conditions::Reason, labels, v1alpha1::Release};

pub use crate::judge::trouble::found::{Container, Found, Trouble};
use crate::{
    domain::app::DEPLOY,
    judge::{
        seen::Seen,
        trouble::{found::quoted, subject::Subject},
    },
};

/// What is wrong with `pod`, if it is not ready.
pub fn of_pod(seen: &Seen<'_>, pod: &Pod) -> Found {
    let subject = Subject { seen, pod };
    if subject.is_ready() {
        return Found::default();
    }
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref());
    let main = status.and_then(|s| s.container_statuses.as_deref());
    // An init container that succeeded has no trouble, and its last lines are not of interest.
    let init = init.into_iter().flatten().filter(|c| !has_succeeded(c));
    for container in init.chain(main.into_iter().flatten()) {
        if let Some(found) = subject.of_container(container) {
            return found;
        }
    }
    subject
        .unscheduled()
        .or_else(|| subject.probe_failed())
        .or_else(|| subject.warned())
        .map(Found::perhaps)
        .unwrap_or_default()
}

/// The namespace's Pod Security Standard forbids the pods of `deployment`: the API server never accepts them.
pub fn refused(deployment: &Deployment) -> Option<Trouble> {
    not_created(deployment)
        .filter(|trouble| trouble.message.contains("violates PodSecurity"))
        .map(|trouble| Trouble {
            message: format!(
                "{}. The namespace does not allow what spec.podSecurity asks for",
                trouble.message
            ),
            ..trouble
        })
}

/// The pods of `deployment` were not created.
pub fn not_created(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let process = deployment.labels().get(labels::PROCESS).cloned();
    Some(Trouble {
        reason: Reason::ContainerFailed,
        message: format!(
            "{}: its pods cannot be made: {}",
            process.clone().unwrap_or_default(),
            quoted(failure.message.as_deref().unwrap_or_default())
        ),
        process,
        container: None,
    })
}

/// The trouble that is reported when the time is over.
pub fn at_the_deadline(release: &Release, explained: Option<Trouble>, progress: &str) -> Trouble {
    let limit = release.spec.deadlines.deploy.unwrap_or(DEPLOY);
    match explained {
        Some(trouble) => Trouble {
            message: format!("{} (given up after {limit})", trouble.message),
            ..trouble
        },
        None => Trouble {
            reason: Reason::DeadlineExceeded,
            message: format!(
                "only {progress} after {limit}: give it longer with spec.deadlines.deploy, or see why it is slow with `kubectl logs`"
            ),
            process: None,
            container: None,
        },
    }
}

fn has_succeeded(container: &ContainerStatus) -> bool {
    let terminated = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    terminated.is_some_and(|terminated| terminated.exit_code == 0)
}
