//! A [`Driver`] over a Docker Engine: each zone is one container, all three share one volume.
//!
//! What exists on the engine is the only memory: names carry Build UID and zone, labels say whose they are. Nothing
//! here decides what is built or whether it is tried again.

mod connection;
mod create;
mod image;
mod output;
mod sweep;

use bollard::{
    models::{ContainerStateStatusEnum, NetworkCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
        StartContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use futures::stream::BoxStream;

use crate::{
    build::{
        docker::{connection::Connection, image::Puller},
        driver::{Driver, DriverError, Output, ZoneState},
        plan::{BuildPlan, ZonePlan},
    },
    settings::Settings,
};

/// A Docker Engine.
#[derive(Debug)]
pub struct Docker {
    connection: Connection,
    puller: Puller,
    owner: String,
}

impl Docker {
    /// The engine that the settings name. Nothing is connected yet. `owner` marks what this installation has on the
    /// engine: of several that share one, each sweeps only its own.
    pub fn new(settings: &Settings, owner: String) -> Self {
        Self {
            connection: Connection::new(&settings.engine),
            puller: Puller::new(&settings.registry),
            owner,
        }
    }

    async fn create(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        self.puller.ensure(&self.connection, &zone.image).await?;
        self.ensure_network(&plan.network).await?;
        let volume = create::volume(plan, &self.owner);
        client
            .create_volume(volume)
            .await
            .map_err(|e| self.connection.failure("make the build's volume", e))?;
        let options = CreateContainerOptionsBuilder::new()
            .name(&zone.container)
            .build();
        let body = create::container(plan, zone, &self.owner);
        match client.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(e) if connection::status(&e) == Some(409) => Ok(()),
            Err(e) => Err(self
                .connection
                .failure(&format!("create the container {}", zone.container), e)),
        }
    }

    async fn ensure_network(&self, name: &str) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        match client
            .inspect_network(name, None::<InspectNetworkOptions>)
            .await
        {
            Ok(_) => return Ok(()),
            Err(e) if connection::status(&e) == Some(404) => {}
            Err(e) => return Err(self.connection.failure("look at the builds' network", e)),
        }
        let request: NetworkCreateRequest = create::network(name);
        match client.create_network(request).await {
            Ok(_) => Ok(()),
            Err(e) if connection::status(&e) == Some(409) => Ok(()),
            Err(e) => Err(self.connection.failure("make the builds' network", e)),
        }
    }

    async fn begin(&self, zone: &ZonePlan) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        let archive = create::archive(zone).map_err(|e| DriverError::Refused {
            action: format!("take the files of {}", zone.container),
            message: e.to_string(),
        })?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        client
            .upload_to_container(
                &zone.container,
                Some(options),
                bollard::body_full(archive.into()),
            )
            .await
            .map_err(|e| {
                self.connection
                    .failure(&format!("put the input into {}", zone.container), e)
            })?;
        client
            .start_container(&zone.container, None::<StartContainerOptions>)
            .await
            .map_err(|e| {
                self.connection
                    .failure(&format!("start {}", zone.container), e)
            })
    }
}

impl Driver for Docker {
    async fn start(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<(), DriverError> {
        let mut state = self.observe(&zone.container).await?;
        if state == ZoneState::Absent {
            self.create(plan, zone).await?;
            state = self.observe(&zone.container).await?;
        }
        match state {
            ZoneState::Created => self.begin(zone).await,
            ZoneState::Running | ZoneState::Exited { .. } => Ok(()),
            ZoneState::Absent => Err(DriverError::Troubled {
                action: format!("create the container {}", zone.container),
                message: "it was removed again at once".to_owned(),
            }),
        }
    }

    async fn observe(&self, container: &str) -> Result<ZoneState, DriverError> {
        let client = self.connection.client().await?;
        let seen = match client
            .inspect_container(container, None::<InspectContainerOptions>)
            .await
        {
            Ok(seen) => seen,
            Err(e) if connection::status(&e) == Some(404) => return Ok(ZoneState::Absent),
            Err(e) => {
                return Err(self
                    .connection
                    .failure(&format!("look at the container {container}"), e));
            }
        };
        let Some(state) = seen.state else {
            return Ok(ZoneState::Absent);
        };
        Ok(match state.status {
            Some(ContainerStateStatusEnum::CREATED) => ZoneState::Created,
            Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
                ZoneState::Exited {
                    code: state.exit_code.unwrap_or(-1),
                    out_of_memory: state.oom_killed.unwrap_or(false),
                    milliseconds: output::milliseconds(
                        state.started_at.as_deref(),
                        state.finished_at.as_deref(),
                    ),
                }
            }
            _ => ZoneState::Running,
        })
    }

    async fn logs(&self, container: &str, follow: bool) -> Result<Output, DriverError> {
        let client = self.connection.client().await?;
        Ok(output::logs(
            &client,
            self.connection.address(),
            container,
            follow,
        ))
    }

    async fn report(&self, container: &str) -> Result<Option<Vec<u8>>, DriverError> {
        output::report(&self.connection, container).await
    }

    async fn stop(&self, uid: &str) -> Result<(), DriverError> {
        sweep::stop(&self.connection, uid).await
    }

    async fn remove(&self, uid: &str) -> Result<(), DriverError> {
        sweep::remove(&self.connection, uid).await
    }

    async fn leftovers(&self) -> Result<Vec<String>, DriverError> {
        sweep::leftovers(&self.connection, &self.owner).await
    }

    async fn ended(&self) -> Result<BoxStream<'static, String>, DriverError> {
        sweep::ended(&self.connection, &self.owner).await
    }
}
