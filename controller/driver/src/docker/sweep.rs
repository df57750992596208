//! Finds the objects of one Build, or of one installation, by label. Stops, removes, lists and watches them.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bollard::{
    Docker,
    errors::Error,
    models::ContainerSummary,
    query_parameters::{
        EventsOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use futures::{
    StreamExt as _,
    future::ready,
    stream::{self, BoxStream},
};
use slipway_crds::labels;

use crate::{
    contract::DriverError,
    docker::{
        connection::{self, Connection},
        create::OWNER,
        names,
    },
};
use slipway_base::error::chain;

/// Seconds between SIGTERM and SIGKILL when a build is stopped.
const GRACE: i32 = 3;
/// How many times, and with which pause, the removal of a volume is tried while the engine reports it as in use.
const VOLUME_TRIES: u32 = 5;
const VOLUME_PAUSE: Duration = Duration::from_millis(200);

fn by_label(key: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])])
}

async fn containers(
    client: &Docker,
    key: &str,
    value: &str,
) -> Result<Vec<ContainerSummary>, Error> {
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&by_label(key, value))
        .build();
    client.list_containers(Some(options)).await
}

/// Stops the running containers of a Build.
pub(super) async fn stop(connection: &Connection, uid: &str) -> Result<(), DriverError> {
    let client = connection.client().await?;
    let failure = |e| connection.failure(&format!("stop the build {uid}"), e);
    let mut result = Ok(());
    for id in ids(containers(&client, labels::BUILD_UID, uid)
        .await
        .map_err(failure)?)
    {
        let options = StopContainerOptionsBuilder::new().t(GRACE).build();
        let stopped = gone_is_fine(client.stop_container(&id, Some(options)).await);
        result = both(result, stopped.map_err(failure));
    }
    result
}

/// Removes the proxy and the network of a Build's build zone.
pub(super) async fn close(connection: &Connection, uid: &str) -> Result<(), DriverError> {
    let client = connection.client().await?;
    let failure = |e| connection.failure(&format!("close the way out of the build {uid}"), e);
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    let proxy = names::proxy(uid);
    let removed = client.remove_container(&proxy, Some(options)).await;
    gone_is_fine(removed).map_err(failure)?;
    remove_networks(&client, uid, &failure).await
}

async fn remove_networks(
    client: &Docker,
    uid: &str,
    failure: &impl Fn(Error) -> DriverError,
) -> Result<(), DriverError> {
    let mut result = Ok(());
    let networks = networks(client, labels::BUILD_UID, uid).await;
    for (network, _) in networks.map_err(failure)? {
        let removed = gone_is_fine(client.remove_network(&network).await);
        result = both(result, removed.map_err(failure));
    }
    result
}

/// Removes all objects of a Build.
pub(super) async fn remove(connection: &Connection, uid: &str) -> Result<(), DriverError> {
    let client = connection.client().await?;
    let failure = |e| connection.failure(&format!("remove the build {uid}"), e);
    let mut result = Ok(());
    for id in ids(containers(&client, labels::BUILD_UID, uid)
        .await
        .map_err(failure)?)
    {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removed = gone_is_fine(client.remove_container(&id, Some(options)).await);
        result = both(result, removed.map_err(failure));
    }
    let volumes = volumes(&client, labels::BUILD_UID, uid).await;
    for volume in volumes.map_err(failure)? {
        let removed = remove_volume(&client, &volume.0).await;
        result = both(result, removed.map_err(failure));
    }
    both(result, remove_networks(&client, uid, &failure).await)
}

/// Combines two results, so that a failure for one container does not keep the others from being handled. The first
/// error is returned, others are logged.
fn both(before: Result<(), DriverError>, now: Result<(), DriverError>) -> Result<(), DriverError> {
    match (before, now) {
        (Err(first), Err(other)) => {
            tracing::warn!(error = chain(&other), "this failed, too");
            Err(first)
        }
        (first, now) => first.and(now),
    }
}

/// Id and Build UID of each network with a label.
async fn networks(
    client: &Docker,
    key: &str,
    value: &str,
) -> Result<Vec<(String, Option<String>)>, Error> {
    let options = ListNetworksOptionsBuilder::new()
        .filters(&by_label(key, value))
        .build();
    let found = client.list_networks(Some(options)).await?;
    Ok(found
        .into_iter()
        .filter_map(|network| {
            let build = network
                .labels
                .and_then(|mut labels| labels.remove(labels::BUILD_UID));
            Some((network.id?, build))
        })
        .collect())
}

/// Removes a volume. A container that another call is removing still holds it for a moment, so the removal is tried
/// several times.
async fn remove_volume(client: &Docker, name: &str) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        // Without `force`: with it, an engine forgets a volume that it could not remove, and no later sweep finds it.
        let options = RemoveVolumeOptionsBuilder::new().build();
        match client.remove_volume(name, Some(options)).await {
            Err(e) if connection::status(&e) == Some(409) && tries < VOLUME_TRIES => {
                tries += 1;
                tokio::time::sleep(VOLUME_PAUSE).await;
            }
            Err(e) if connection::status(&e) == Some(404) => return Ok(()),
            other => return other,
        }
    }
}

/// Name and Build UID of each volume with a label.
async fn volumes(
    client: &Docker,
    key: &str,
    value: &str,
) -> Result<Vec<(String, Option<String>)>, Error> {
    let options = ListVolumesOptionsBuilder::new()
        .filters(&by_label(key, value))
        .build();
    let found = client.list_volumes(Some(options)).await?;
    Ok(found
        .volumes
        .unwrap_or_default()
        .into_iter()
        .map(|volume| (volume.name, volume.labels.get(labels::BUILD_UID).cloned()))
        .collect())
}

/// UIDs of all Builds of an installation that still have objects on the engine.
pub(super) async fn leftovers(
    connection: &Connection,
    owner: &str,
) -> Result<Vec<String>, DriverError> {
    let client = connection.client().await?;
    let failure = |e| connection.failure("list what builds left", e);
    let containers = containers(&client, OWNER, owner).await.map_err(failure)?;
    let volumes = volumes(&client, OWNER, owner).await.map_err(failure)?;
    let networks = networks(&client, OWNER, owner).await.map_err(failure)?;
    let of_containers = containers
        .into_iter()
        .filter_map(|found| found.labels?.remove(labels::BUILD_UID));
    let others = volumes.into_iter().chain(networks);
    let uids: BTreeSet<String> = of_containers
        .chain(others.filter_map(|(_, uid)| uid))
        .collect();
    Ok(uids.into_iter().collect())
}

/// UIDs of an installation's Builds, as their containers end.
pub(super) async fn ended(
    connection: &Connection,
    owner: &str,
) -> Result<BoxStream<'static, String>, DriverError> {
    let client = connection.client().await?;
    let mut filters = by_label(OWNER, owner);
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    filters.insert("event".to_owned(), vec!["die".to_owned()]);
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    let mut events = client.events(Some(options)).boxed();
    // An engine refuses at once, but otherwise sends nothing until an event happens. So a refusal arrives within this
    // wait.
    let first = tokio::time::timeout(Duration::from_millis(500), events.next()).await;
    let first = match first {
        Ok(Some(Err(e))) => return Err(connection.failure("tell what happens", e)),
        Ok(Some(Ok(event))) => Some(event),
        Ok(None) => return Ok(stream::empty().boxed()),
        Err(_) => None,
    };
    Ok(stream::iter(first.map(Ok))
        .chain(events)
        .take_while(|item| ready(item.is_ok()))
        .filter_map(|item| {
            ready(
                item.ok()
                    .and_then(|event| event.actor)
                    .and_then(|actor| actor.attributes)
                    .and_then(|mut labels| labels.remove(labels::BUILD_UID)),
            )
        })
        .boxed())
}

fn ids(containers: Vec<ContainerSummary>) -> Vec<String> {
    containers.into_iter().filter_map(|c| c.id).collect()
}

fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        // The object is gone, or another call is removing it.
        Err(e) if matches!(connection::status(&e), Some(404 | 409)) => Ok(()),
        other => other,
    }
}
