//! The addresses at which builds could reach the engine's own machine: the engine's address, and its networks of
//! containers.

use bollard::{models::Network as EngineNetwork, query_parameters::ListNetworksOptions};
use http::Uri;
use tokio::net::lookup_host;

use crate::{contract::DriverError, docker::connection::Connection};
use slipway_base::outside::policy::Network;

/// The engine's port if its address names none.
const PORT: u16 = 2376;

/// The engine's addresses. Those of an engine on a socket of this machine cannot be known. A refusal counts as an error
/// that may pass: whoever runs the engine can allow the request, and no build fails for it.
pub(super) async fn addresses(connection: &Connection) -> Result<Vec<Network>, DriverError> {
    let client = connection.client().await?;
    let networks = client.list_networks(None::<ListNetworksOptions>).await;
    let networks = networks.map_err(|e| may_pass(connection.failure("list its networks", e)))?;
    let mut found = bridges(networks);
    if let Some((host, port)) = server(connection.address()) {
        let resolved = lookup_host((host.as_str(), port)).await;
        let resolved = resolved.map_err(|source| DriverError::Unreachable {
            address: connection.address().to_owned(),
            source: source.into(),
        })?;
        found.extend(resolved.map(|address| Network::from(address.ip())));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn may_pass(error: DriverError) -> DriverError {
    match error {
        DriverError::Refused { action, message } => DriverError::Troubled { action, message },
        other => other,
    }
}

/// Host and port of the engine's address.
fn server(address: &str) -> Option<(String, u16)> {
    let uri: Uri = address.parse().ok()?;
    (uri.scheme_str() == Some("tcp")).then_some(())?;
    let host = uri.host()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Some((bare.to_owned(), uri.port_u16().unwrap_or(PORT)))
}

/// The addresses of the engine's bridge networks, where the engine itself and other containers are. Other kinds of
/// network are left out, because they may be a company's.
fn bridges(networks: Vec<EngineNetwork>) -> Vec<Network> {
    let bridges = networks
        .into_iter()
        .filter(|network| network.driver.as_deref() == Some("bridge"));
    let configs = bridges.filter_map(|network| network.ipam?.config).flatten();
    configs
        .flat_map(|config| [config.subnet, config.gateway])
        .filter_map(|text| text?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{bridges, may_pass, server};
    use crate::contract::DriverError;
    use bollard::models::{Ipam, IpamConfig, Network as EngineNetwork};

    #[test]
    fn an_engines_address_has_a_host_and_a_port() {
        for (address, found) in [
            (
                "tcp://engine.example.com:2376",
                Some(("engine.example.com", 2376)),
            ),
            ("tcp://10.0.0.7", Some(("10.0.0.7", 2376))),
            ("tcp://[fd00::7]:2377", Some(("fd00::7", 2377))),
            ("unix:///var/run/docker.sock", None),
        ] {
            let server = server(address);
            let seen = server.as_ref().map(|(host, port)| (host.as_str(), *port));
            assert_eq!(seen, found, "{address}");
        }
    }

    #[test]
    fn an_engine_that_does_not_list_its_networks_fails_no_build() {
        let (action, message) = ("list its networks".to_owned(), "forbidden".to_owned());
        let error = may_pass(DriverError::Refused { action, message });
        assert!(matches!(error, DriverError::Troubled { .. }), "{error:?}");
    }

    #[test]
    fn the_networks_of_bridges_are_the_engines_own() {
        let network = |driver: &str, subnet: &str, gateway: Option<&str>| EngineNetwork {
            driver: Some(driver.to_owned()),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    gateway: gateway.map(str::to_owned),
                    ..IpamConfig::default()
                }]),
                ..Ipam::default()
            }),
            ..EngineNetwork::default()
        };
        let found = bridges(vec![
            network("bridge", "172.17.0.0/16", Some("172.17.0.1")),
            network("bridge", "fd00::/64", None),
            network("macvlan", "192.168.1.0/24", None),
            EngineNetwork::default(),
        ]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["172.17.0.0/16", "172.17.0.1/32", "fd00::/64"]);
    }
}
