//! Deployments and Service → what runs, and where it answers. Pure.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use slipway_crds::labels;

use crate::{
    controllers::app::{
        observe::Observed,
        report::{Running, RunningProcess},
    },
    settings::AppSettings,
};

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

fn process(deployment: &Deployment) -> Option<RunningProcess> {
    let name = deployment
        .metadata
        .labels
        .as_ref()?
        .get(labels::PROCESS)?
        .clone();
    let status = deployment.status.clone().unwrap_or_default();
    let spec = deployment.spec.as_ref()?;
    Some(RunningProcess {
        name,
        desired: spec.replicas.unwrap_or(1),
        replicas: status.replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
    })
}

/// An address that works, as far as the Service has one yet.
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
    use super::url;
    use crate::settings::{AppSettings, ServiceType};
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn of(service: &Value, node_address: Option<&str>) -> Option<String> {
        let service: Service = serde_json::from_value(service.clone()).unwrap();
        let settings = AppSettings {
            service_type: ServiceType::ClusterIp,
            node_address: node_address.map(str::to_owned),
            cluster_domain: "cluster.local".into(),
            interval: Duration::from_mins(1),
            drain_seconds: 5,
        };
        url("hello", "team", &service, &settings)
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
