//! The interface of a driver, which runs a [`BuildPlan`]. The only driver today is that of a Docker Engine.

use std::future::Future;

use bytes::Bytes;
use futures::stream::BoxStream;

use slipway_base::outside::policy::Network;
use slipway_core::build::plan::{BuildPlan, ZonePlan};

/// The state of a zone's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// There is no such container.
    Absent,
    /// The container exists and was never started.
    Created,
    /// The container runs.
    Running,
    /// The container has exited.
    Exited {
        /// Exit code of its program.
        code: i64,
        /// Whether the kernel killed a process in it for want of memory.
        out_of_memory: bool,
        /// How long it ran.
        milliseconds: u64,
    },
}

/// Why a driver could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The engine does not answer. This may pass.
    #[error("cannot reach the build engine at {address}")]
    Unreachable {
        /// Its address.
        address: String,
        /// The underlying error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine has an error of its own, or something that it needs does not answer. This may pass.
    #[error("the build engine could not {action}: {message}")]
    Troubled {
        /// What the engine was asked to do.
        action: String,
        /// The engine's message.
        message: String,
    },
    /// The engine refused. Asking again gives the same answer.
    #[error("the build engine refused to {action}: {message}")]
    Refused {
        /// What the engine was asked to do.
        action: String,
        /// The engine's message.
        message: String,
    },
}

/// The result of starting a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// The zone runs, or has run.
    Yes,
    /// The zone has not started, because its image is being pulled. Each further call returns how far the pull is.
    Pulling(Pulling),
}

/// An image that is being pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulling {
    /// The image.
    pub image: String,
    /// Why the last attempt failed. The driver tries again by itself.
    pub trouble: Option<String>,
}

/// A zone's output.
pub type Output = BoxStream<'static, Result<Bytes, DriverError>>;

/// Runs the zones of a plan. After a restart, the operator finds everything again by name and label. `container` is the
/// name of a container as in [`ZonePlan::container`].
pub trait Driver: Send + Sync + 'static {
    /// Creates and starts the zone's container. If an earlier call created it but did not start it, this one goes on
    /// from there. A container that was ever started is not started again. Does not wait for images.
    fn start(
        &self,
        plan: &BuildPlan,
        zone: &ZonePlan,
    ) -> impl Future<Output = Result<Started, DriverError>> + Send;

    /// Does the driver's work in the background, above all pulls of images. Calls `tell` with the UID of each Build
    /// that should call [`Driver::start`] again. Runs until it is dropped.
    fn work(&self, tell: impl Fn(&str) + Send + Sync) -> impl Future<Output = ()> + Send;

    /// The state of the zone's container.
    fn observe(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<ZoneState, DriverError>> + Send;

    /// The zone's standard output and standard error, from the start; with `follow` until the container ends. Empty if
    /// there is no such container.
    fn logs(
        &self,
        container: &str,
        follow: bool,
    ) -> impl Future<Output = Result<Output, DriverError>> + Send;

    /// The report of a zone that has ended ([`slipway_base::zone::layout::REPORT`]). `None` if the zone wrote none, or
    /// one that is too large.
    fn report(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, DriverError>> + Send;

    /// The engine's own addresses and the networks of its containers, as far as they can be known. Builds must not
    /// connect to them.
    fn addresses(&self) -> impl Future<Output = Result<Vec<Network>, DriverError>> + Send;

    /// Creates the build zone's way out before the zone starts, if the plan has one: a network, and the proxy on it.
    /// Does not wait for images; [`Driver::start`] creates what is still missing.
    fn open(&self, plan: &BuildPlan) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Removes the way out of a Build that has ended: its proxy, and the network that proxy and build zone share. An
    /// engine can create only a limited number of networks. If there is none, that is no error.
    fn close(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops every container of the Build with this UID, but keeps them, and ends pulls that only this Build needs. If
    /// there is none, that is no error.
    fn stop(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops and removes every container, the volume and the network of the Build with this UID. If there is none, that
    /// is no error.
    fn remove(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// UIDs of all Builds of this installation that still have a container, a volume or a network on the engine.
    fn leftovers(&self) -> impl Future<Output = Result<Vec<String>, DriverError>> + Send;

    /// UIDs of Builds whose containers end, as it happens. The stream ends when the connection to the engine is lost.
    fn ended(&self)
    -> impl Future<Output = Result<BoxStream<'static, String>, DriverError>> + Send;
}
