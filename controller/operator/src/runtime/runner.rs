//! Settings → the driver that runs builds. No other file names a driver.

use slipway_core::settings::Settings;
use slipway_driver::docker::{Docker, Setup};

/// The driver that runs builds. If there is a second one, this becomes an enum with a variant for each, which passes
/// every call on.
pub(super) type Runner = Docker;

/// Makes the driver that the settings select. `installation` names this installation on a build engine that others may
/// share.
pub(super) fn runner(settings: &Settings, installation: String) -> Runner {
    Docker::new(Setup {
        engine: settings.engine.clone(),
        registry: settings.registry.clone(),
        image: settings.image_for_engine.clone(),
        pids: settings.builds.pids,
        owner: installation,
    })
}
