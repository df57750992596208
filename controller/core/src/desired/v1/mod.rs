//! The first rules. A check is tried as often as it says, and nothing is told to the launcher.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use slipway_crds::v1alpha1::{Check, CheckType};

use crate::desired::pod::{
    long_running::{self, Process},
    probe::{self, Probes},
};

/// The pod template of a process.
pub(crate) fn process(process: &Process<'_>) -> PodTemplateSpec {
    long_running::template(process, probes(&process.spec.checks), Vec::new())
}

/// The probes for `checks`.
pub(crate) fn probes(checks: &[Check]) -> Probes {
    let of = |r#type| probe::probe(&probe::of_type(checks, r#type));
    Probes::new(
        of(CheckType::Startup),
        of(CheckType::Readiness),
        of(CheckType::Liveness),
    )
}
