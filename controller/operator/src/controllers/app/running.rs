//! Deployments and Service → what runs, and at which address. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::Reason,
    labels,
    v1alpha1::{Process, Release},
};

use crate::controllers::app::{
    observe::Observed,
    report::{Running, RunningProcess, Step},
};
use slipway_core::settings::AppSettings;
use slipway_k8s::scaled;

/// What runs of an App.
pub(super) fn running(
    app: &str,
    namespace: &str,
    observed: &Observed,
    settings: &AppSettings,
) -> Running {
    let mut processes: Vec<RunningProcess> =
        observed.deployments.iter().filter_map(process).collect();
    processes.sort_by(|a, b| a.name.cmp(&b.name));
    let url = observed
        .service
        .as_ref()
        .and_then(|service| url(app, namespace, service, settings));
    Running { processes, url }
}

/// Whether each process of `wanted` has as many pods as the spec asks for now or, where the spec names no number, as
/// the scaler of its Deployment wants. These numbers change at any time: a Release has only the first one.
pub(super) fn scale(
    wanted: &Release,
    asked: &BTreeMap<String, Process>,
    deployments: &[Deployment],
) -> Step {
    let open: Vec<String> = wanted
        .spec
        .processes
        .iter()
        .filter_map(|(name, process)| {
            let asked = asked.get(name).and_then(|process| process.replicas);
            let deployment = deployments.iter().find(|d| process_of(d) == Some(name));
            let live = deployment.and_then(|d| d.spec.as_ref()?.replicas);
            let replicas = asked.or(live).unwrap_or(process.replicas);
            open(name, replicas, deployment)
        })
        .collect();
    if open.is_empty() {
        return Step::Done(Reason::Serving, "as many run as are asked for".to_owned());
    }
    let message = format!("{}: {}", open.join(", "), see_pods(&wanted.spec.app.name));
    Step::Working(Reason::Progressing, message)
}

/// Who scales the processes for which the spec names no number.
pub(super) fn scaled_by<'a>(
    asked: &'a BTreeMap<String, Process>,
    deployments: &'a [Deployment],
) -> impl Iterator<Item = String> + 'a {
    let named = |name: &String| asked.get(name).is_some_and(|p| p.replicas.is_some());
    deployments.iter().filter_map(move |deployment| {
        let name = process_of(deployment).filter(|name| !named(name))?;
        let entries = deployment.managed_fields();
        let scaled = match scaled::scaler(entries) {
            Some("kube-controller-manager") => "scaled by a HorizontalPodAutoscaler".to_owned(),
            Some(by) => format!("scaled by {by}"),
            None if scaled::is_anothers(entries) => {
                let number = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                format!("scaled to {}", number.unwrap_or_default())
            }
            None => return None,
        };
        Some(format!(
            "{name} is {scaled}, at its Deployment, until spec.processes.{name}.replicas names a number"
        ))
    })
}

/// The command that shows more about an App's pods.
pub(super) fn see_pods(app: &str) -> String {
    format!("see `kubectl describe pods -l {}={app}`", labels::APP)
}

/// What is missing until `replicas` of a process run.
fn open(name: &str, replicas: i32, deployment: Option<&Deployment>) -> Option<String> {
    let Some(deployment) = deployment else {
        // A process that never ran has no Deployment.
        return (replicas > 0).then(|| format!("{name} has to be scaled to {replicas}"));
    };
    let status = deployment.status.as_ref();
    let seen = status.and_then(|s| s.observed_generation) >= deployment.metadata.generation;
    if !seen || deployment.spec.as_ref().and_then(|s| s.replicas) != Some(replicas) {
        return Some(format!("{name} has to be scaled to {replicas}"));
    }
    let ready = status.and_then(|s| s.ready_replicas).unwrap_or_default();
    (ready < replicas).then(|| format!("{ready} of {replicas} {name} ready"))
}

fn process_of(deployment: &Deployment) -> Option<&String> {
    deployment.metadata.labels.as_ref()?.get(labels::PROCESS)
}

fn process(deployment: &Deployment) -> Option<RunningProcess> {
    let name = process_of(deployment)?.clone();
    let status = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref()?;
    Some(RunningProcess {
        name,
        desired: spec.replicas.unwrap_or(1),
        replicas: status.replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
    })
}

/// An address that works, as far as the Service has one already.
fn url(app: &str, namespace: &str, service: &Service, settings: &AppSettings) -> Option<String> {
    let spec = service.spec.as_ref()?;
    let port = spec.ports.as_ref()?.first()?;
    match spec.type_.as_deref() {
        Some("NodePort") => {
            let host = settings.node_address.as_deref()?;
            Some(address(host, port.node_port?))
        }
        Some("LoadBalancer") => {
            let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
            let ingress = balancer.ingress.as_ref()?.first()?;
            let host = ingress.hostname.as_deref().or(ingress.ip.as_deref())?;
            Some(address(host, port.port))
        }
        _ => {
            let host = format!("{app}.{namespace}.svc.{}", settings.cluster_domain);
            Some(address(&host, port.port))
        }
    }
}

fn address(host: &str, port: i32) -> String {
    // An IPv6 address.
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    if port == 80 {
        format!("http://{host}")
    } else {
        format!("http://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::{scale, scaled_by, url};
    use k8s_openapi::api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::Service,
    };
    use serde_json::{Value, json};
    use slipway_core::settings::{AppSettings, ServiceType};
    use slipway_crds::v1alpha1::{Process, Release, ReleaseProcess, ReleaseSpec};

    fn of(service: &Value, node_address: Option<&str>) -> Option<String> {
        let service: Service = serde_json::from_value(service.clone()).unwrap();
        let settings = AppSettings {
            service_type: ServiceType::ClusterIp,
            node_address: node_address.map(str::to_owned),
            cluster_domain: "cluster.local".into(),
            interval: slipway_crds::v1alpha1::Duration::from_secs(60),
            drain_seconds: 5,
            max_history: 100,
        };
        url("hello", "team", &service, &settings)
    }

    /// What is said about a Release with one process, for which this number is wanted.
    fn scaled(own: i32, asked: Option<i32>, deployment: Option<[i64; 4]>) -> String {
        let mut spec = ReleaseSpec::default();
        let process = ReleaseProcess {
            replicas: own,
            ..ReleaseProcess::default()
        };
        spec.processes.insert("web".into(), process);
        let process = Process {
            replicas: asked,
            ..Process::default()
        };
        let deployments: Vec<Deployment> = deployment
            .into_iter()
            .map(|[generation, seen, replicas, ready]| {
                serde_json::from_value(json!({
                    "metadata": {"generation": generation, "labels": {"slipway.dev/process": "web"}},
                    "spec": {"replicas": replicas, "selector": {}, "template": {}},
                    "status": {"observedGeneration": seen, "readyReplicas": ready},
                }))
                .unwrap()
            })
            .collect();
        let asked = [("web".to_owned(), process)].into();
        let step = scale(&Release::new("hello-v1", spec), &asked, &deployments);
        let said = step.said().1.split(':').next().unwrap_or_default();
        format!("{} {said}", step.is_done())
    }

    #[test]
    fn a_scale_is_done_when_it_is_carried_out() {
        let done = "true as many run as are asked for";
        for (own, asked, deployment, wanted) in [
            (1, None, Some([1, 1, 1, 1]), done),
            (
                1,
                Some(3),
                Some([1, 1, 1, 1]),
                "false web has to be scaled to 3",
            ),
            // Nobody has acted on the new number yet.
            (
                1,
                Some(3),
                Some([2, 1, 3, 3]),
                "false web has to be scaled to 3",
            ),
            (1, Some(3), Some([2, 2, 3, 1]), "false 1 of 3 web ready"),
            (1, Some(3), Some([2, 2, 3, 3]), done),
            (1, Some(0), Some([2, 2, 0, 1]), done),
            (
                1,
                Some(0),
                Some([1, 1, 1, 1]),
                "false web has to be scaled to 0",
            ),
            (0, None, None, done),
            (0, Some(1), None, "false web has to be scaled to 1"),
            // Scaled by something else, which the spec allows.
            (1, None, Some([2, 2, 3, 1]), "false 1 of 3 web ready"),
            (1, None, Some([2, 2, 3, 3]), done),
            (1, None, Some([2, 2, 0, 0]), done),
        ] {
            assert_eq!(scaled(own, asked, deployment), wanted);
        }
    }

    #[test]
    fn who_scales_is_told_where_the_spec_leaves_it_to_them() {
        let deployment = |manager: &str, subresource: Option<&str>| -> Deployment {
            serde_json::from_value(json!({"metadata": {
                "labels": {"slipway.dev/process": "web"},
                "managedFields": [{
                    "manager": manager, "operation": "Update", "subresource": subresource,
                    "fieldsV1": {"f:spec": {"f:replicas": {}}},
                }],
            }}))
            .unwrap()
        };
        let told = |deployment: Deployment, replicas: Option<i32>| -> Vec<String> {
            let process = Process {
                replicas,
                ..Process::default()
            };
            scaled_by(&[("web".to_owned(), process)].into(), &[deployment]).collect()
        };
        for (manager, subresource, named, part) in [
            (
                "kube-controller-manager",
                Some("scale"),
                None,
                "a HorizontalPodAutoscaler",
            ),
            ("keda", Some("scale"), None, "keda"),
            ("keda", Some("scale"), Some(2), ""),
            ("kubectl-edit", None, None, ""),
        ] {
            let notes = told(deployment(manager, subresource), named);
            let expected = format!("web is scaled by {part}, at its Deployment");
            assert_eq!(notes.len(), usize::from(!part.is_empty()), "{notes:?}");
            assert!(notes.iter().all(|n| n.starts_with(&expected)), "{notes:?}");
        }
        // Scaled to zero: the scaler has left no name.
        let mut stopped = deployment("slipway/release", None);
        stopped.metadata.managed_fields.as_mut().unwrap()[0].fields_v1 = None;
        stopped.spec = Some(DeploymentSpec {
            replicas: Some(0),
            ..DeploymentSpec::default()
        });
        let notes = told(stopped.clone(), None);
        assert!(
            notes[0].starts_with("web is scaled to 0, at its Deployment, until"),
            "{notes:?}"
        );
        assert!(told(stopped, Some(0)).is_empty());
    }

    #[test]
    fn the_address_is_one_that_works() {
        let ports = json!([{"port": 80, "nodePort": 30123}]);
        let balancer = |ingress: Value| json!({"spec": {"type": "LoadBalancer", "ports": ports}, "status": {"loadBalancer": {"ingress": ingress}}});
        for (service, node, wanted) in [
            (
                json!({"spec": {"type": "ClusterIP", "ports": ports}}),
                None,
                Some("http://hello.team.svc.cluster.local"),
            ),
            (
                json!({"spec": {"type": "NodePort", "ports": ports}}),
                Some("10.0.0.1"),
                Some("http://10.0.0.1:30123"),
            ),
            (
                json!({"spec": {"type": "NodePort", "ports": ports}}),
                Some("fd00::1"),
                Some("http://[fd00::1]:30123"),
            ),
            (
                json!({"spec": {"type": "NodePort", "ports": ports}}),
                None,
                None,
            ),
            (balancer(json!([])), None, None),
            (
                balancer(json!([{"ip": "1.2.3.4"}])),
                None,
                Some("http://1.2.3.4"),
            ),
            (
                balancer(json!([{"hostname": "lb.example.com"}])),
                None,
                Some("http://lb.example.com"),
            ),
        ] {
            assert_eq!(of(&service, node).as_deref(), wanted, "{service}");
        }
    }
}
