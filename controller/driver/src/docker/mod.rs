//! A [`Driver`] for a Docker Engine: each zone is one container, and all three zones share one volume.
//!
//! Apart from running pulls, the objects on the engine are the driver's only memory: their [`names`] hold the Build's
//! UID and the zone, and their labels name the owner. The driver does not decide what is built, or whether it is tried
//! again.
//!
//! The build zone of a plan that has an `egress` is on a network of its own, from which nothing leads outside. Its
//! proxy is the only other container on it, and is also on the network of all builds.

mod connection;
mod container;
mod create;
mod image;
mod machine;
pub mod names;
mod network;
mod output;
mod pulls;
mod state;
mod sweep;
mod transport;
mod way_out;

use bollard::models::ContainerCreateBody;
use futures::stream::BoxStream;

use crate::{
    contract::{Driver, DriverError, Output, Read},
    docker::{connection::Connection, create::Container, image::Puller, pulls::Pulls},
};
use slipway_base::zone::Zone;
use slipway_core::build::zones::{Preparing, ZoneState, Zones};
use slipway_core::{
    build::plan::{BuildPlan, EgressPlan, PlanImage, ZonePlan},
    settings::{EngineSettings, RegistrySettings},
};

/// What the driver of an engine is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The engine.
    pub engine: EngineSettings,
    /// The registry, with its address as the engine reaches it.
    pub registry: RegistrySettings,
    /// Reference of the operator's own image, as the engine pulls it.
    pub image: String,
    /// How many processes a container may have.
    pub pids: i64,
    /// Labels the objects of this installation: if several installations share an engine, each sweeps only its own.
    pub owner: String,
}

/// A Docker Engine.
#[derive(Debug)]
pub struct Docker {
    setup: Setup,
    connection: Connection,
    puller: Puller,
    pulls: Pulls,
}

impl Docker {
    /// The engine that the settings name; this call does not connect.
    pub fn new(setup: Setup) -> Self {
        Self {
            connection: Connection::new(&setup.engine),
            puller: Puller::new(setup.image.clone(), &setup.registry),
            pulls: Pulls::default(),
            setup,
        }
    }

    /// Makes the zone's container with what it needs: volume, network and, for the build zone, the way out.
    async fn create(
        &self,
        plan: &BuildPlan,
        zone: &ZonePlan,
        container: &Container,
    ) -> Result<(), DriverError> {
        let connection = &self.connection;
        let network = match egress(plan, zone) {
            None => network::network(connection, create::network()).await?,
            Some(egress) => self.way_out(plan, egress).await?,
        };
        let volume = create::volume(plan, &self.setup.owner);
        let client = connection.client().await?;
        let made = client.create_volume(volume).await;
        made.map_err(|e| connection.failure("make the build's volume", e))?;
        let body = self.body(plan, container, network);
        container::make(connection, &container.name, body).await
    }

    fn body(
        &self,
        plan: &BuildPlan,
        container: &Container,
        network: String,
    ) -> ContainerCreateBody {
        let Setup { pids, owner, .. } = &self.setup;
        create::body(plan, container, *pids, owner, network)
    }

    /// The first image that the zone needs and the engine does not have.
    async fn missing_image(
        &self,
        plan: &BuildPlan,
        zone: &ZonePlan,
    ) -> Result<Option<String>, DriverError> {
        let beside = egress(plan, zone).map(|_| &PlanImage::Own);
        for image in [Some(&zone.image), beside].into_iter().flatten() {
            let image = self.puller.reference(image);
            if !image::is_there(&self.connection, &image).await? {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }
}

/// The way out of this zone, if it has one of its own.
fn egress<'a>(plan: &'a BuildPlan, zone: &ZonePlan) -> Option<&'a EgressPlan> {
    plan.egress.as_ref().filter(|_| zone.zone == Zone::Build)
}

impl Read for Docker {
    async fn observe(&self, uid: &str) -> Result<Zones, DriverError> {
        let of = async |zone| {
            let name = names::container(uid, zone);
            container::observe(&self.connection, &name).await
        };
        let (fetch, build, export) =
            futures::try_join!(of(Zone::Fetch), of(Zone::Build), of(Zone::Export))?;
        Ok(Zones {
            fetch,
            build,
            export,
        })
    }

    async fn output(&self, uid: &str, zone: Zone, follow: bool) -> Result<Output, DriverError> {
        let client = self.connection.client().await?;
        let name = names::container(uid, zone);
        let address = self.connection.address();
        Ok(Output::new(output::read(&client, address, &name, follow)))
    }
}

impl Driver for Docker {
    async fn start(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<ZoneState, DriverError> {
        let image = self.puller.reference(&zone.image);
        let container = Container::of_zone(&plan.uid, zone, image);
        let mut state = container::observe(&self.connection, &container.name).await?;
        match (&state, egress(plan, zone)) {
            (ZoneState::Absent, _) => {
                if let Some(image) = self.missing_image(plan, zone).await? {
                    let pulling: Preparing = self.pulls.ask(&plan.uid, &image)?;
                    return Ok(ZoneState::Preparing(pulling));
                }
                self.create(plan, zone, &container).await?;
                state = container::observe(&self.connection, &container.name).await?;
            }
            // The container was created before the operator or the engine restarted, and its proxy may have ended
            // since.
            (ZoneState::Preparing(_), Some(egress)) => drop(self.way_out(plan, egress).await?),
            _ => {}
        }
        match state {
            ZoneState::Preparing(_) => {
                container::begin(&self.connection, &container).await?;
                Ok(ZoneState::Running)
            }
            ZoneState::Running | ZoneState::Exited { .. } => Ok(state),
            ZoneState::Absent => Err(DriverError::Troubled {
                action: format!("create the container {}", container.name),
                message: "it was removed again at once".to_owned(),
            }),
        }
    }

    async fn work(&self, tell: impl Fn(&str) + Send + Sync) {
        let pull = |image: String| async move { self.puller.pull(&self.connection, &image).await };
        self.pulls.work(pull, tell).await;
    }

    async fn open(&self, plan: &BuildPlan) -> Result<(), DriverError> {
        let Some(egress) = &plan.egress else {
            return Ok(());
        };
        let image = self.puller.reference(&PlanImage::Own);
        if image::is_there(&self.connection, &image).await? {
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
        sweep::leftovers(&self.connection, &self.setup.owner).await
    }

    async fn ended(&self) -> Result<BoxStream<'static, String>, DriverError> {
        sweep::ended(&self.connection, &self.setup.owner).await
    }
}
