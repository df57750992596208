//! Each component's process and probe → what works, and one verdict. Changes nothing.

use serde::Serialize;

use crate::components::{self, Component, Site, apiserver, storage};
use crate::layout::Layout;
use crate::probes::Probe;
use crate::processes;

/// The current health of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    pub name: String,
    pub healthy: bool,
    pub detail: String,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no cluster.
    Absent,
    Healthy,
    /// What is wrong, one line for each fault.
    Unhealthy(Vec<String>),
}

/// Checks beyond the components' own: Services are reachable, and pods can be created.
pub fn whole_checks(site: &Site) -> Vec<(&'static str, Probe)> {
    let account = |namespace: &str| {
        Probe::Web(apiserver::ask(
            site,
            &format!("/api/v1/namespaces/{namespace}/serviceaccounts/default"),
        ))
    };
    vec![
        (
            "service network",
            Probe::Resolves(format!("{}:53", site.network.dns_service())),
        ),
        ("accounts for pods", account("default")),
        ("storage namespace", account(storage::NAMESPACE)),
    ]
}

pub fn of_component(layout: &Layout, component: &Component) -> Health {
    let name = component.program.name;
    let (healthy, detail) = match processes::running(layout, name) {
        None => (false, "does not run".to_owned()),
        Some(process) => match component.probe.ask() {
            Ok(()) => (true, format!("process {}", process.pid)),
            Err(error) => (false, format!("process {}: {error:#}", process.pid)),
        },
    };
    Health {
        name: name.to_owned(),
        healthy,
        detail,
    }
}

pub fn observe(site: &Site) -> Vec<Health> {
    let mut all: Vec<Health> = components::all(site)
        .iter()
        .map(|component| of_component(&site.layout, component))
        .collect();
    // If a component is down, these would only say so again, each after its own time limit.
    if all.iter().all(|health| health.healthy) {
        all.extend(
            whole_checks(site)
                .into_iter()
                .map(|(name, probe)| match probe.ask() {
                    Ok(()) => Health {
                        name: name.to_owned(),
                        healthy: true,
                        detail: "works".to_owned(),
                    },
                    Err(error) => Health {
                        name: name.to_owned(),
                        healthy: false,
                        detail: format!("{error:#}"),
                    },
                }),
        );
    }
    all
}

/// `there`: whether a state folder exists; `finished`: whether `up` has finished.
pub fn verdict(there: bool, finished: bool, all: &[Health]) -> Verdict {
    if !there {
        return Verdict::Absent;
    }
    let mut troubles: Vec<String> = all
        .iter()
        .filter(|health| !health.healthy)
        .map(|health| format!("{}: {}", health.name, health.detail))
        .collect();
    if !finished {
        troubles.insert(0, "the last `up` did not come to its end".to_owned());
    }
    if troubles.is_empty() {
        Verdict::Healthy
    } else {
        Verdict::Unhealthy(troubles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(name: &str, healthy: bool) -> Health {
        Health {
            name: name.to_owned(),
            healthy,
            detail: "detail".to_owned(),
        }
    }

    #[test]
    fn one_sick_component_makes_the_cluster_unhealthy_and_is_named() {
        let all = [health("etcd", true), health("kubelet", false)];
        assert_eq!(
            verdict(true, true, &all),
            Verdict::Unhealthy(vec!["kubelet: detail".to_owned()])
        );
    }

    #[test]
    fn an_unfinished_up_is_not_healthy_even_if_all_runs() {
        assert!(matches!(
            verdict(true, false, &[health("etcd", true)]),
            Verdict::Unhealthy(_)
        ));
    }

    #[test]
    fn healthy_and_absent_are_told_apart() {
        assert_eq!(
            verdict(true, true, &[health("etcd", true)]),
            Verdict::Healthy
        );
        assert_eq!(verdict(false, false, &[]), Verdict::Absent);
    }
}
