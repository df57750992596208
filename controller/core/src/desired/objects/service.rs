//! The Service in front of `web`.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use slipway_crds::{labels, names};

use crate::{
    desired::{Part, pod::long_running::PORT_NAME},
    domain::checks::WEB,
    settings::ServiceType,
};

pub(crate) fn service(part: &Part<'_>) -> Option<Service> {
    part.release.spec.processes.get(WEB)?;
    let mut labels = part.labels();
    labels.insert(labels::PROCESS.to_owned(), WEB.to_owned());
    labels.insert(labels::COMPONENT.to_owned(), WEB.to_owned());
    let r#type = match part.site.service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    Some(Service {
        metadata: ObjectMeta {
            name: Some(names::service(part.app())),
            namespace: part.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![part.owner()]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some(r#type.to_owned()),
            selector: Some(labels::selector(part.app(), WEB)),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: 80,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}
