//! What runs a [`BuildPlan`]: a Docker Engine today.

use std::future::Future;

use bytes::Bytes;
use futures::stream::BoxStream;

use slipway_base::outside::policy::Network;
use slipway_core::build::plan::{BuildPlan, ZonePlan};

/// Where a zone's container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// There is none.
    Absent,
    /// It exists and was never started.
    Created,
    /// It runs.
    Running,
    /// It ran.
    Exited {
        /// Exit code of its program.
        code: i64,
        /// Whether the engine killed something in it for want of memory.
        out_of_memory: bool,
        /// How long it ran.
        milliseconds: u64,
    },
}

/// Why a driver could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The engine does not answer; may pass.
    #[error("cannot reach the build engine at {address}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What was said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine is in trouble of its own, or what it needs does not answer; may pass.
    #[error("the build engine could not {action}: {message}")]
    Troubled {
        /// What was asked.
        action: String,
        /// What it said.
        message: String,
    },
    /// The engine refused; asking again gives the same answer.
    #[error("the build engine refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// What it said.
        message: String,
    },
}

/// What became of a zone that was to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It runs, or ran.
    Yes,
    /// Not yet: its image is on the way. Who asks again is told how far that is.
    Pulling(Pulling),
}

/// An image that is on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulling {
    /// The image.
    pub image: String,
    /// Why the last try did not work out; the next one follows by itself.
    pub trouble: Option<String>,
}

/// A zone's output.
pub type Output = BoxStream<'static, Result<Bytes, DriverError>>;

/// Runs the zones of a plan. Everything is found again by name and label after a restart of the operator;
/// `container` is a container's name as in [`ZonePlan::container`].
pub trait Driver: Send + Sync + 'static {
    /// Makes and starts the zone's container, unless it was made or started before: then it goes on from there. A
    /// container that was ever started is never started again. Waits for no image.
    fn start(
        &self,
        plan: &BuildPlan,
        zone: &ZonePlan,
    ) -> impl Future<Output = Result<Started, DriverError>> + Send;

    /// Does what goes on beside the calls, images above all, and tells the UIDs of Builds that should ask again. Runs
    /// until dropped.
    fn work(&self, tell: impl Fn(&str) + Send + Sync) -> impl Future<Output = ()> + Send;

    /// Where the zone is.
    fn observe(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<ZoneState, DriverError>> + Send;

    /// The zone's output from its begin, standard error among it; with `follow` until it ends. Empty if there is no
    /// such container.
    fn logs(
        &self,
        container: &str,
        follow: bool,
    ) -> impl Future<Output = Result<Output, DriverError>> + Send;

    /// The report of a zone that ended ([`slipway_base::zone::layout::REPORT`]), bounded; `None` if it wrote none that is
    /// within bounds.
    fn report(
        &self,
        container: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, DriverError>> + Send;

    /// The engine's own addresses and its networks of containers, as far as they can be known. No build has business
    /// there.
    fn addresses(&self) -> impl Future<Output = Result<Vec<Network>, DriverError>> + Send;

    /// Opens the build zone's way out ahead of its start, if it has one of its own: a network, and a proxy at work on it.
    /// Waits for no image; what is not there by then, [`Driver::start`] makes.
    fn open(&self, plan: &BuildPlan) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Removes the way out of a Build that has ended: its proxy, and the network of proxy and build zone. An engine has not
    /// many networks to give. Nothing there is no error.
    fn close(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops every container of the Build with this UID, and keeps them; nothing more is pulled for it. Nothing there
    /// is no error.
    fn stop(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops and removes every container and the volume of the Build with this UID. Nothing there is no error.
    fn remove(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// UIDs of all Builds of this installation that have anything left on the engine.
    fn leftovers(&self) -> impl Future<Output = Result<Vec<String>, DriverError>> + Send;

    /// UIDs of Builds whose containers ended, as it happens. Ends when the engine is lost.
    fn ended(&self)
    -> impl Future<Output = Result<BoxStream<'static, String>, DriverError>> + Send;
}
