//! The second rules. A startup check tries as long as Dokku does, a liveness check starts only after the process has
//! started, and the launcher is told the time in which the process has to stop.

mod patience;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use slipway_base::zone::layout;

use crate::desired::pod::{
    common::variable,
    long_running::{self, Process},
};

/// The pod template of a process.
pub(crate) fn process(process: &Process<'_>) -> PodTemplateSpec {
    let part = process.part;
    let probes = patience::probes(&process.spec.checks, part.deploy_limit());
    let stop = || variable(layout::STOP_SECONDS, part.stop_seconds().to_string());
    let told = process.program().is_launched().then(stop);
    long_running::template(process, probes, told.into_iter().collect())
}
