//! Makes and starts containers on the engine, and asks about them.

use bollard::{
    models::ContainerCreateBody,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
        UploadToContainerOptionsBuilder,
    },
};

use crate::{
    contract::DriverError,
    docker::{
        connection::{self, Connection},
        create::{self, Container},
        state,
    },
};
use slipway_core::build::zones::ZoneState;

/// The state of the container with this name.
pub(super) async fn observe(connection: &Connection, name: &str) -> Result<ZoneState, DriverError> {
    let client = connection.client().await?;
    let seen = client.inspect_container(name, None::<InspectContainerOptions>);
    match seen.await {
        Ok(seen) => Ok(state::of(seen.state)),
        Err(e) if connection::status(&e) == Some(404) => Ok(ZoneState::Absent),
        Err(e) => Err(connection.failure(&format!("look at the container {name}"), e)),
    }
}

/// Makes the container. If there is one with this name, nothing is done.
pub(super) async fn make(
    connection: &Connection,
    name: &str,
    body: ContainerCreateBody,
) -> Result<(), DriverError> {
    let client = connection.client().await?;
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let action = format!("create the container {name}");
    match client.create_container(Some(options), body).await {
        Ok(_) => Ok(()),
        Err(e) if connection::status(&e) == Some(409) => Ok(()),
        // The image or the network was removed a moment ago. The next attempt makes it again.
        Err(e) if connection::status(&e) == Some(404) => Err(DriverError::Troubled {
            action,
            message: e.to_string(),
        }),
        Err(e) => Err(connection.failure(&action, e)),
    }
}

/// Puts the files into the container and starts it.
pub(super) async fn begin(
    connection: &Connection,
    container: &Container,
) -> Result<(), DriverError> {
    let client = connection.client().await?;
    let name = &container.name;
    let archive = create::archive(container).map_err(|e| DriverError::Refused {
        action: format!("take the files of {name}"),
        message: e.to_string(),
    })?;
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    let body = bollard::body_full(archive.into());
    let uploaded = client.upload_to_container(name, Some(options), body).await;
    uploaded.map_err(|e| connection.failure(&format!("put the input into {name}"), e))?;
    let started = client.start_container(name, None::<StartContainerOptions>);
    let started = started.await;
    started.map_err(|e| connection.failure(&format!("start {name}"), e))
}
