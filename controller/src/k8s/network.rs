//! The cluster's own addresses, as far as the API server tells: tenants have nobody connect there for them.
//!
//! What it does not tell, such as the pods' network where nodes have no `podCIDR`, an administrator sets.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::{core::v1::Node, discovery::v1::EndpointSlice, networking::v1::ServiceCIDR};
use kube::{Api, Client, api::ListParams};
use tokio::time::{sleep, timeout};

use crate::outside::{
    Outside,
    policy::{Cluster, Network},
};

/// Between two looks: nodes come and go.
const PAUSE: Duration = Duration::from_mins(5);
/// How long one look may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Nodes that are read at once: a thousand of them are many megabytes.
const PAGE: u32 = 50;

/// Keeps what is known up to date for ever.
pub async fn watch(client: Client, outside: Outside) {
    loop {
        sleep(PAUSE).await;
        look(&client, &outside).await;
    }
}

/// Finds out once, before anybody connects anywhere. What cannot be asked stays as it was, and is warned of.
pub async fn look(client: &Client, outside: &Outside) {
    let before = outside.policy().found.clone();
    match timeout(DEADLINE, find(client, &before)).await {
        Ok(found) => outside.learn(found),
        Err(_) => {
            tracing::warn!("the API server does not say in time which addresses are the cluster's");
        }
    }
}

async fn find(client: &Client, before: &Cluster) -> Cluster {
    let mut found = Cluster::default();
    let nodes = nodes(client, &mut found).await;
    let known = [
        told("nodes", &nodes),
        told("servicecidrs", &services(client, &mut found).await),
        told("endpointslices", &api_servers(client, &mut found).await),
    ];
    if known != [true; 3] {
        // Rather too much than too little.
        let Cluster {
            networks,
            api_servers,
            nodes,
        } = before;
        found.networks.extend(networks);
        found.api_servers.extend(api_servers);
        found.nodes.extend(nodes);
    }
    found.networks.sort_unstable();
    found.networks.dedup();
    found.api_servers.sort_unstable();
    found.api_servers.dedup();
    found.nodes.sort_unstable();
    found.nodes.dedup();
    found
}

fn told(what: &str, result: &Result<(), kube::Error>) -> bool {
    if let Err(error) = result {
        tracing::warn!(
            what,
            %error,
            "cannot read the cluster's own addresses: outside.cluster in the chart's values has to name them"
        );
    }
    result.is_ok()
}

async fn nodes(client: &Client, found: &mut Cluster) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let nodes = api.list(&page).await?;
        for node in nodes.items {
            let spec = node.spec.unwrap_or_default();
            let ranges = spec.pod_cidrs.into_iter().flatten().chain(spec.pod_cidr);
            found
                .networks
                .extend(ranges.filter_map(|range| range.parse::<Network>().ok()));
            let addresses = node.status.and_then(|status| status.addresses);
            let addresses = addresses.into_iter().flatten();
            found
                .nodes
                .extend(addresses.filter_map(|address| address.address.parse::<IpAddr>().ok()));
        }
        match nodes.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

async fn services(client: &Client, found: &mut Cluster) -> Result<(), kube::Error> {
    let api: Api<ServiceCIDR> = Api::all(client.clone());
    let ranges = api.list(&ListParams::default().limit(PAGE)).await?;
    let ranges = ranges.items.into_iter();
    let ranges = ranges.filter_map(|range| range.spec?.cidrs).flatten();
    found
        .networks
        .extend(ranges.filter_map(|range| range.parse::<Network>().ok()));
    Ok(())
}

async fn api_servers(client: &Client, found: &mut Cluster) -> Result<(), kube::Error> {
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
    let slice = api.get("kubernetes").await?;
    let ports: Vec<u16> = slice
        .ports
        .into_iter()
        .flatten()
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    for address in slice
        .endpoints
        .into_iter()
        .flat_map(|endpoint| endpoint.addresses)
    {
        if let Ok(address) = address.parse::<IpAddr>() {
            found
                .api_servers
                .extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        k8s::{fake::Fake, network::look},
        outside::{
            Outside,
            policy::{Network, Policy},
        },
    };

    #[tokio::test]
    async fn nodes_pods_services_and_api_servers_are_found_and_not_forgotten() {
        let fake = Fake::default();
        fake.put(
            "/api/v1/nodes/one",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"},
                "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd44::/64"]},
                "status": {"addresses": [
                    {"type": "Hostname", "address": "one"}, {"type": "InternalIP", "address": "192.0.2.1"},
                ]}}),
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
        look(&fake.client(), &outside).await;
        let policy = outside.policy();
        let refused =
            |port, address: &str| policy.check("h", port, address.parse().unwrap()).is_err();
        assert!(refused(80, "10.244.1.9") && refused(80, "fd44::1") && refused(80, "10.96.0.1"));
        assert!(
            refused(6443, "192.0.2.1") && refused(10250, "192.0.2.1") && refused(80, "10.1.2.3")
        );
        assert!(!refused(443, "192.0.2.1") && !refused(80, "10.244.2.1"));
        // An API server that does not answer makes nothing allowed.
        fake.cut();
        look(&fake.client(), &outside).await;
        assert_eq!(outside.policy(), policy);
    }
}
