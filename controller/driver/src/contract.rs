//! The interface of a driver, which runs a [`BuildPlan`]. The only driver today is that of a Docker Engine.
//!
//! A driver addresses everything by the Build's UID and the zone. How it calls what it makes, where that runs and how it
//! gets there is its own business. The contract is such that a Kubernetes pod can keep it: a zone's report is a part of
//! its output, and nothing reads a file of a container that has exited.

use std::future::Future;

use futures::stream::BoxStream;

pub use crate::{error::DriverError, frames::Output};
use slipway_base::zone::Zone;
use slipway_core::build::{
    plan::{BuildPlan, ZonePlan},
    zones::{ZoneState, Zones},
};

/// The half of a driver that looks and changes nothing.
pub trait Read: Send + Sync + 'static {
    /// The state of all zones of the Build with this UID, as they are at this moment.
    fn observe(&self, uid: &str) -> impl Future<Output = Result<Zones, DriverError>> + Send;

    /// The zone's standard output and standard error, from the start; with `follow` until the zone ends. Empty if there
    /// is nothing of the zone. The whole output can be read until [`Driver::remove`], at least of a zone that has
    /// written no more than [`BuildPlan::log_bytes`] and its report. The report comes last: what is lost of a longer
    /// output is its begin.
    fn output(
        &self,
        uid: &str,
        zone: Zone,
        follow: bool,
    ) -> impl Future<Output = Result<Output, DriverError>> + Send;
}

/// Runs the zones of a plan. The driver keeps nothing in memory that a restarted operator needs: it finds everything
/// again by the Build's UID.
pub trait Driver: Read {
    /// Makes what the zone needs, and starts it. Goes on where an earlier call was broken off. A zone that was ever
    /// started is not started again. Does not wait for images: [`ZoneState::Preparing`] tells what is missing. The
    /// answer is never [`ZoneState::Absent`].
    fn start(
        &self,
        plan: &BuildPlan,
        zone: &ZonePlan,
    ) -> impl Future<Output = Result<ZoneState, DriverError>> + Send;

    /// Does the driver's work in the background, above all pulls of images. Calls `tell` with the UID of each Build
    /// that should call [`Driver::start`] again. Runs until it is dropped.
    fn work(&self, tell: impl Fn(&str) + Send + Sync) -> impl Future<Output = ()> + Send;

    /// Makes the build zone's way out before the zone starts, if the plan has one. Does not wait for images;
    /// [`Driver::start`] makes what is still missing.
    fn open(&self, plan: &BuildPlan) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Removes the way out of a Build that has ended, if it takes up what other Builds need. If there is none, that is
    /// no error.
    fn close(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops every zone of the Build with this UID, but keeps its output, and ends preparations that only this Build
    /// needs. If there is nothing of the Build, that is no error.
    fn stop(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Stops and removes everything of the Build with this UID. If there is nothing, that is no error.
    fn remove(&self, uid: &str) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// UIDs of all Builds of this installation of which anything is left.
    fn leftovers(&self) -> impl Future<Output = Result<Vec<String>, DriverError>> + Send;

    /// UIDs of Builds whose zones end, as it happens. The stream ends when the connection to what runs builds is lost.
    fn ended(&self)
    -> impl Future<Output = Result<BoxStream<'static, String>, DriverError>> + Send;
}
