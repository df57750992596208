//! Where things lie: in a zone's container, and on the volume that the three zones share.

/// Folder of a zone's own files, on the container's filesystem: the volume never holds them.
pub const PRIVATE: &str = "/slipway";
/// What the zone is to do: JSON, see [`crate::zone::input`].
pub const INPUT: &str = "/slipway/input.json";
/// What the zone did: JSON, see [`crate::zone::report`].
pub const REPORT: &str = "/slipway/report.json";

/// Name of a build zone's proxy in the network that it shares with it.
pub const EGRESS_HOST: &str = "slipway-egress";
/// Its port.
pub const EGRESS_PORT: u16 = 3128;

/// Where fetch and export mount the volume.
pub const WORKSPACE: &str = "/workspace";
/// Where the build zone mounts it: buildpacks then find the usual places, on one filesystem.
pub const BUILD_MOUNT: &str = "/tmp";
/// A tmpfs of the build zone: one file a variable, the `ENV_DIR` of the buildpack API.
pub const ENV_DIR: &str = "/env";

/// On the volume: the App's source, edited in place by buildpacks; becomes `/app`.
pub const BUILD_DIR: &str = "build";
/// On the volume: the cache of the last build that succeeded.
pub const CACHE_DIR: &str = "cache";
/// On the volume: one fresh folder a buildpack, `00-python`.
pub const PACKS_DIR: &str = "buildpacks";
/// On the volume: the programs that the build zone runs, brought in from the operator's image.
pub const BIN_DIR: &str = "slipway/bin";
/// On the volume: the packs that fetch brought in, in order ([`crate::zone::report::Packs`]).
pub const PACKS_FILE: &str = "slipway/packs.json";
/// On the volume: what the build zone made, for export ([`crate::zone::report::BuildReport`]).
pub const RESULT_FILE: &str = "slipway/result.json";

/// In the operator's image: the static programs.
pub const PROGRAMS: &str = "/usr/local/lib/slipway";
/// Name of the program that runs buildpacks.
pub const BUILDER: &str = "slipway-builder";
/// Name of the program that buildpacks call for what bash is bad at.
pub const PACK: &str = "slipway-pack";
/// Name of the program that an App's image starts with.
pub const LAUNCHER: &str = "slipway-launcher";
/// Name of the program that asks what a probe cannot.
pub const PROBER: &str = "slipway-prober";

/// Variable that tells the launcher how many seconds the process has to end in, once it is told to, before it is killed.
pub const STOP_SECONDS: &str = "SLIPWAY_STOP_SECONDS";

/// In an App's image: the launcher, its entrypoint.
pub const LAUNCHER_IN_IMAGE: &str = "/slipway/launcher";
