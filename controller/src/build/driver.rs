//! What runs a [`BuildPlan`]: a Docker Engine today.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::build::plan::{BuildPlan, ZonePlan};

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
        /// Whether it was killed for want of memory.
        out_of_memory: bool,
    },
}

/// Why a driver could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The engine does not answer, or is in trouble of its own; may pass.
    #[error("cannot reach the build engine at {address}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What was said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine refused.
    #[error("the build engine refused to {action}: {message}")]
    Refused {
        /// What was asked.
        action: String,
        /// What it said.
        message: String,
    },
}

/// Runs the zones of a plan. Everything is found again by name and label after a restart of the operator.
#[expect(async_fn_in_trait, reason = "used by generics inside this crate only")]
pub trait Driver: Send + Sync {
    /// Makes and starts the zone's container, unless it was made or started before: then it goes on from there.
    async fn start(&self, plan: &BuildPlan, zone: &ZonePlan) -> Result<(), DriverError>;

    /// Where the zone is.
    async fn observe(&self, zone: &ZonePlan) -> Result<ZoneState, DriverError>;

    /// The zone's output from its begin, standard error among it; with `follow` until it ends.
    async fn logs(
        &self,
        zone: &ZonePlan,
        follow: bool,
    ) -> Result<BoxStream<'static, Result<Bytes, DriverError>>, DriverError>;

    /// The report of a zone that ended ([`crate::zone::layout::REPORT`]), bounded; `None` if it wrote none.
    async fn report(&self, zone: &ZonePlan) -> Result<Option<Vec<u8>>, DriverError>;

    /// Stops and removes every container and the volume of the Build with this UID. Nothing there is no error.
    async fn remove(&self, uid: &str) -> Result<(), DriverError>;

    /// UIDs of all Builds that have anything left on the engine.
    async fn leftovers(&self) -> Result<Vec<String>, DriverError>;

    /// UIDs of Builds whose containers ended, as it happens. Ends when the engine is lost.
    async fn ended(&self) -> Result<BoxStream<'static, String>, DriverError>;
}
