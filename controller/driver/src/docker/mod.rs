//! A [`Driver`] for a Docker Engine: each zone is one container, and all three zones share one volume.
//!
//! Apart from running pulls, the objects on the engine are the driver's only memory: their names hold the Build's UID
//! and the zone, and their labels name the owner. The driver does not decide what is built, or whether it is tried
//! again.

mod connection;
mod create;
mod image;
mod machine;
mod output;
mod pulls;
mod sweep;
mod transport;

use std::{collections::HashMap, iter};

use bollard::{
    models::{ContainerCreateBody, ContainerStateStatusEnum, NetworkCreateRequest},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListNetworksOptions,
        ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
        UploadToContainerOptionsBuilder,
    },
};
use futures::stream::BoxStream;

use crate::{
    contract::{Driver, DriverError, Output, Started, ZoneState},
    docker::{connection::Connection, image::Puller, pulls::Pulls},
};
use slipway_base::{outside::policy::Network, zone::Zone};
use slipway_core::{
    build::plan::{BuildPlan, EgressPlan, ZonePlan},
    settings::{EngineSettings, RegistrySettings},
};

/// A Docker Engine.
#[derive(Debug)]
pub struct Docker {
    connection: Connection,
    puller: Puller,
    pulls: Pulls,
    owner: String,
}

impl Docker {
    /// The engine that the settings name; this call does not connect. `owner` labels the objects of this installation:
    /// if several installations share an engine, each sweeps only its own.
    pub fn new(engine: &EngineSettings, registry: &RegistrySettings, owner: String) -> Self {
        Self {
            connection: Connection::new(engine),
            puller: Puller::new(registry),
            pulls: Pulls::default(),
            owner,
        }
    }

    async fn create(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        let network = match egress(plan, zone) {
            None => self.network(create::network(&plan.network)).await?,
            Some(egress) => self.way_out(plan, egress).await?,
        };
        let volume = create::volume(plan, &self.owner);
        client
            .create_volume(volume)
            .await
            .map_err(|e| self.connection.failure("make the build's volume", e))?;
        self.make(create::container(plan, zone, &self.owner, network), zone)
            .await
    }

    async fn make(&self, body: ContainerCreateBody, zone: &ZonePlan) -> Result<(), DriverError> {
        let client = self.connection.client().await?;
        let options = CreateContainerOptionsBuilder::new()
            .name(&zone.container)
            .build();
        match client.create_container(Some(options), body).await {
            Ok(_) => Ok(()),
            Err(e) if connection::status(&e) == Some(409) => Ok(()),
            // The image or the network was removed a moment ago. The next attempt makes it again.
            Err(e) if connection::status(&e) == Some(404) => Err(DriverError::Troubled {
                action: format!("create the container {}", zone.container),
                message: e.to_string(),
            }),
            Err(e) => Err(self
                .connection
                .failure(&format!("create the container {}", zone.container), e)),
        }
    }

    /// The id of the network, which is created if there is none. When two callers create it at once, engines refuse the
    /// second call. Older engines create two networks of one name and then cannot use that name, so all but the oldest
    /// are removed.
    async fn network(&self, wanted: NetworkCreateRequest) -> Result<String, DriverError> {
        let name = &wanted.name.clone();
        let client = self.connection.client().await?;
        let failure = |e| self.connection.failure("make the builds' network", e);
        let mut found = create::networks(
            name,
            client
                .list_networks(Some(by_name(name)))
                .await
                .map_err(failure)?,
        );
        if found.is_empty() {
            match client.create_network(wanted).await {
                Err(e) if connection::is_there_already(&e) => {}
                other => drop(other.map_err(failure)?),
            }
            found = create::networks(
                name,
                client
                    .list_networks(Some(by_name(name)))
                    .await
                    .map_err(failure)?,
            );
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

    /// The build zone's own network with its proxy on it. Each step is skipped if it was done before.
    async fn way_out(&self, plan: &BuildPlan, egress: &EgressPlan) -> Result<String, DriverError> {
        let client = self.connection.client().await?;
        let world = self.network(create::network(&plan.network)).await?;
        let closed = self
            .network(create::closed_network(plan, &egress.network, &self.owner))
            .await?;
        let proxy = &egress.proxy;
        let mut state = self.observe(&proxy.container).await?;
        if let ZoneState::Exited { code, .. } = state {
            // Without the proxy, every download of the build would fail. The next attempt creates it anew.
            let again = RemoveContainerOptionsBuilder::new().force(true).build();
            let removed = client.remove_container(&proxy.container, Some(again));
            let action = format!("keep the build's way out {} up", proxy.container);
            removed
                .await
                .map_err(|e| self.connection.failure(&action, e))?;
            return Err(DriverError::Troubled {
                action,
                message: format!("it ended with code {code}"),
            });
        }
        if state == ZoneState::Absent {
            self.make(create::container(plan, proxy, &self.owner, world), proxy)
                .await?;
            state = self.observe(&proxy.container).await?;
        }
        if state == ZoneState::Created {
            let known_as = create::known_as(&proxy.container, &egress.host);
            match client.connect_network(&closed, known_as).await {
                // The proxy is on the network already.
                Err(e) if connection::status(&e) == Some(403) => {}
                other => other.map_err(|e| {
                    let action = format!("put {} on the build's network", proxy.container);
                    self.connection.failure(&action, e)
                })?,
            }
            self.begin(proxy).await?;
            state = ZoneState::Running;
        }
        if state == ZoneState::Running {
            return Ok(closed);
        }
        Err(DriverError::Troubled {
            action: format!("start the build's way out {}", proxy.container),
            message: "it was removed or has ended at once".to_owned(),
        })
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

/// The way out of this zone, if it has one of its own.
fn egress<'a>(plan: &'a BuildPlan, zone: &ZonePlan) -> Option<&'a EgressPlan> {
    plan.egress.as_ref().filter(|_| zone.zone == Zone::Build)
}

fn by_name(network: &str) -> ListNetworksOptions {
    let filters = HashMap::from([("name", vec![network])]);
    ListNetworksOptionsBuilder::new().filters(&filters).build()
}

impl Driver for Docker {
    async fn start(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<Started, DriverError> {
        let mut state = self.observe(&zone.container).await?;
        if state == ZoneState::Absent {
            let beside = egress(plan, zone).map(|egress| &egress.proxy.image);
            for image in iter::once(&zone.image).chain(beside) {
                if !image::is_there(&self.connection, image).await? {
                    let pulling = self.pulls.ask(&plan.uid, image)?;
                    return Ok(Started::Pulling(pulling));
                }
            }
            self.create(plan, zone).await?;
            state = self.observe(&zone.container).await?;
        } else if state == ZoneState::Created
            && let Some(egress) = egress(plan, zone)
        {
            // The container was created before the operator or the engine restarted, and its proxy may have ended
            // since.
            self.way_out(plan, egress).await?;
        }
        match state {
            ZoneState::Created => {
                self.begin(zone).await?;
                Ok(Started::Yes)
            }
            ZoneState::Running | ZoneState::Exited { .. } => Ok(Started::Yes),
            ZoneState::Absent => Err(DriverError::Troubled {
                action: format!("create the container {}", zone.container),
                message: "it was removed again at once".to_owned(),
            }),
        }
    }

    async fn work(&self, tell: impl Fn(&str) + Send + Sync) {
        let pull = |image: String| async move { self.puller.pull(&self.connection, &image).await };
        self.pulls.work(pull, tell).await;
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

    async fn addresses(&self) -> Result<Vec<Network>, DriverError> {
        machine::addresses(&self.connection).await
    }

    async fn open(&self, plan: &BuildPlan) -> Result<(), DriverError> {
        let Some(egress) = &plan.egress else {
            return Ok(());
        };
        if image::is_there(&self.connection, &egress.proxy.image).await? {
            self.way_out(plan, egress).await?;
        }
        Ok(())
    }

    async fn close(&self, uid: &str) -> Result<(), DriverError> {
        sweep::close(&self.connection, uid).await
    }

    async fn stop(&self, uid: &str) -> Result<(), DriverError> {
        self.pulls.forget(uid);
        sweep::stop(&self.connection, uid).await
    }

    async fn remove(&self, uid: &str) -> Result<(), DriverError> {
        self.pulls.forget(uid);
        sweep::remove(&self.connection, uid).await
    }

    async fn leftovers(&self) -> Result<Vec<String>, DriverError> {
        sweep::leftovers(&self.connection, &self.owner).await
    }

    async fn ended(&self) -> Result<BoxStream<'static, String>, DriverError> {
        sweep::ended(&self.connection, &self.owner).await
    }
}
