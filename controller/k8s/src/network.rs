//! The cluster's own addresses, as far as the API server knows them. [`Outside`] uses them to decide where Slipway may
//! connect for a tenant.
//!
//! The administrator sets those that it does not know, such as the pods' network if nodes have no `podCIDR`.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::{core::v1::Node, discovery::v1::EndpointSlice, networking::v1::ServiceCIDR};
use kube::{Api, Client, api::ListParams};
use tokio::time::{sleep, timeout};

use crate::pages;
use slipway_base::outside::{
    Outside,
    policy::{Cluster, Network},
};

/// Interval between two reads: nodes come and go.
const PAUSE: Duration = Duration::from_mins(5);
/// Longest time of one read.
const DEADLINE: Duration = Duration::from_secs(20);

/// Keeps the addresses in `outside` up to date for ever. `own` is the address of the operator's own pod.
pub async fn watch(client: Client, outside: Outside, own: Option<IpAddr>) {
    loop {
        sleep(PAUSE).await;
        look(&client, &outside, own).await;
    }
}

/// Reads the addresses once, as the operator does before it connects anywhere for a tenant. Addresses that cannot be
/// read stay as they were, with a warning in the log.
pub async fn look(client: &Client, outside: &Outside, own: Option<IpAddr>) {
    let before = outside.policy().found.clone();
    match timeout(DEADLINE, find(client, &before)).await {
        Ok(found) => outside.learn(found),
        Err(_) => {
            tracing::warn!("the API server did not say in time which addresses are the cluster's");
        }
    }
    if let Some(own) = own.filter(|own| !outside.policy().knows(*own)) {
        tracing::warn!(
            %own,
            "the operator's own pod is in no network that the cluster's Nodes name, so the addresses of pods are unknown: name the pods' network in outside.cluster of the chart's values, or addresses that tenants name may lead to pods"
        );
    }
}

async fn find(client: &Client, before: &Cluster) -> Cluster {
    let mut found = Cluster::default();
    let mut nodes = Vec::new();
    if let Some(read) = told("nodes", read_nodes(client).await) {
        found.pods = sorted(read.pods);
        found.nodes = sorted(read.addresses.concat());
        nodes = read.addresses;
    } else {
        found.pods.clone_from(&before.pods);
        found.nodes.clone_from(&before.nodes);
    }
    found.services = told("servicecidrs", services(client).await)
        .map_or_else(|| before.services.clone(), sorted);
    found.api_servers = match told("endpointslices", api_servers(client).await) {
        Some(mut read) => {
            let named = read.clone();
            for node in nodes {
                // An API server that is listed with one address of its node listens at the node's other addresses, too.
                let here = named.iter().filter(|server| node.contains(&server.ip()));
                for port in here.map(SocketAddr::port) {
                    read.extend(node.iter().map(|address| SocketAddr::new(*address, port)));
                }
            }
            sorted(read)
        }
        None => before.api_servers.clone(),
    };
    found
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort_unstable();
    all.dedup();
    all
}

fn told<T>(what: &str, result: Result<T, kube::Error>) -> Option<T> {
    result
        .inspect_err(|error| {
            tracing::warn!(
                what,
                %error,
                "cannot read the cluster's own addresses: outside.cluster in the chart's values has to name them"
            );
        })
        .ok()
}

/// What the Nodes list.
#[derive(Default)]
struct Nodes {
    pods: Vec<Network>,
    /// The addresses of each node.
    addresses: Vec<Vec<IpAddr>>,
}

async fn read_nodes(client: &Client) -> Result<Nodes, kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let mut read = Nodes::default();
    pages::each(&api, ListParams::default(), |node: Node| {
        let spec = node.spec.unwrap_or_default();
        let ranges = spec.pod_cidrs.into_iter().flatten().chain(spec.pod_cidr);
        read.pods
            .extend(ranges.filter_map(|range| range.parse::<Network>().ok()));
        let addresses = node.status.and_then(|status| status.addresses);
        let addresses = addresses.into_iter().flatten();
        let addresses = addresses.filter_map(|address| address.address.parse().ok());
        read.addresses.push(addresses.collect());
    })
    .await?;
    Ok(read)
}

async fn services(client: &Client) -> Result<Vec<Network>, kube::Error> {
    let api: Api<ServiceCIDR> = Api::all(client.clone());
    let mut read = Vec::new();
    pages::each(&api, ListParams::default(), |service: ServiceCIDR| {
        let ranges = service.spec.and_then(|spec| spec.cidrs);
        let ranges = ranges.into_iter().flatten();
        read.extend(ranges.filter_map(|range| range.parse::<Network>().ok()));
    })
    .await?;
    Ok(read)
}

async fn api_servers(client: &Client) -> Result<Vec<SocketAddr>, kube::Error> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let slice = api.get("kubernetes").await?;
    let ports: Vec<u16> = slice
        .ports
        .into_iter()
        .flatten()
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    let addresses = slice.endpoints.into_iter();
    let addresses = addresses.flat_map(|endpoint| endpoint.addresses);
    let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
    Ok(addresses
        .flat_map(|address| {
            ports
                .iter()
                .map(move |port| SocketAddr::new(address, *port))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::network::look;
    use slipway_base::outside::{
        Outside,
        policy::{Network, Policy},
    };
    use slipway_support::fake_api::Fake;

    #[tokio::test]
    async fn nodes_pods_services_and_api_servers_are_found_and_not_forgotten() {
        let fake = Fake::default();
        fake.put(
            "/api/v1/nodes/one",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"},
                "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd44::/64"]},
                "status": {"addresses": [
                    {"type": "Hostname", "address": "one"}, {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "ExternalIP", "address": "2001:db8::1"},
                ]}}),
        );
        fake.put(
            "/api/v1/nodes/two",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "two"},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.2"}]}}),
        );
        fake.put(
            "/apis/networking.k8s.io/v1/servicecidrs/kubernetes",
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": ["10.96.0.0/16"]}}),
        );
        fake.put(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"name": "https", "port": 6443}]}),
        );
        let named: Network = "10.1.0.0/16".parse().unwrap();
        let outside = Outside::new(Policy {
            cluster: vec![named],
            ..Policy::default()
        });
        look(&fake.client(), &outside, None).await;
        let policy = outside.policy();
        let refused =
            |port, address: &str| policy.check("h", port, address.parse().unwrap()).is_err();
        assert!(refused(80, "10.244.1.9") && refused(80, "fd44::1") && refused(80, "10.96.0.1"));
        assert!(
            refused(6443, "192.0.2.1") && refused(10250, "192.0.2.1") && refused(80, "10.1.2.3")
        );
        assert!(refused(6443, "2001:db8::1") && !refused(6443, "192.0.2.2"));
        assert!(!refused(443, "192.0.2.1") && !refused(80, "10.244.2.1"));
        // The operator knows the pods' network if its own address is in a known network.
        let known = |address: &str| policy.knows(address.parse().unwrap());
        assert!(known("10.244.1.9") && known("10.1.2.3") && known("192.0.2.1"));
        assert!(!known("10.200.0.7"));
        // The addresses of a source that cannot be read stay. Addresses that a source no longer lists are forgotten.
        fake.remove("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes");
        fake.remove("/api/v1/nodes/two");
        look(&fake.client(), &outside, None).await;
        let policy = outside.policy();
        assert_eq!(policy.found.nodes.len(), 2);
        assert!(!policy.found.api_servers.is_empty());
        // If the API server does not answer, nothing more is allowed.
        fake.cut();
        look(&fake.client(), &outside, None).await;
        assert_eq!(outside.policy(), policy);
    }
}
