//! Settings → the driver that runs builds. The only place that names one.

use slipway_core::settings::Settings;
use slipway_driver::docker::{Docker, Setup};

/// What runs builds. With a second driver, this is an enum with a variant for each, and implements the contract by
/// passing every call on.
pub(super) type Runner = Docker;

/// The driver that the settings ask for. `installation` is what this installation is called where others may share what
/// runs builds.
pub(super) fn runner(settings: &Settings, installation: String) -> Runner {
    Docker::new(Setup {
        engine: settings.engine.clone(),
        registry: settings.registry.clone(),
        image: settings.image_for_engine.clone(),
        pids: settings.builds.pids,
        owner: installation,
    })
}
