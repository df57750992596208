//! Finds or makes a network on the engine.

use std::collections::HashMap;

use bollard::{
    models::NetworkCreateRequest,
    query_parameters::{ListNetworksOptions, ListNetworksOptionsBuilder},
};

use crate::{
    contract::DriverError,
    docker::{
        connection::{self, Connection},
        create,
    },
};

/// The id of the network, which is created if there is none. When two callers create it at once, engines refuse the
/// second call. Older engines create two networks of one name and then cannot use that name, so all but the oldest are
/// removed.
pub(super) async fn network(
    connection: &Connection,
    wanted: NetworkCreateRequest,
) -> Result<String, DriverError> {
    let name = &wanted.name.clone();
    let client = connection.client().await?;
    let failure = |e| connection.failure("make the builds' network", e);
    let found = client.list_networks(Some(by_name(name))).await;
    let mut found = create::networks(name, found.map_err(failure)?);
    if found.is_empty() {
        match client.create_network(wanted).await {
            Err(e) if connection::is_there_already(&e) => {}
            other => drop(other.map_err(failure)?),
        }
        let made = client.list_networks(Some(by_name(name))).await;
        found = create::networks(name, made.map_err(failure)?);
    }
    let mut found = found.into_iter();
    let oldest = found.next().ok_or_else(|| DriverError::Troubled {
        action: "make the builds' network".to_owned(),
        message: "it was removed again at once".to_owned(),
    })?;
    for superfluous in found {
        match client.remove_network(&superfluous).await {
            Err(e) if connection::status(&e) != Some(404) => return Err(failure(e)),
            _ => {}
        }
    }
    Ok(oldest)
}

fn by_name(network: &str) -> ListNetworksOptions {
    let filters = HashMap::from([("name", vec![network])]);
    ListNetworksOptionsBuilder::new().filters(&filters).build()
}
