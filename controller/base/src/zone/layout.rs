//! Paths in a zone's container, and on the volume that the three zones share.

/// Folder of a zone's own files. It is on the container's filesystem, never on the volume.
pub const PRIVATE: &str = "/slipway";
/// The zone's input: JSON, see [`crate::zone::input`].
pub const INPUT: &str = "/slipway/input.json";

/// Name of a build zone's proxy in the network that it shares with it.
pub const EGRESS_HOST: &str = "slipway-egress";
/// Its port.
pub const EGRESS_PORT: u16 = 3128;

/// Where fetch and export mount the volume.
pub const WORKSPACE: &str = "/workspace";
/// Where the build zone mounts the volume, so that buildpacks find `/tmp/build` and `/tmp/cache` on one filesystem.
pub const BUILD_MOUNT: &str = "/tmp";
/// A tmpfs of the build zone: the `ENV_DIR` of the buildpack API, with one file for each variable.
pub const ENV_DIR: &str = "/env";

/// On the volume: the App's source. Buildpacks edit it in place; it becomes `/app` in the image.
pub const BUILD_DIR: &str = "build";
/// On the volume: the cache of the last build that succeeded.
pub const CACHE_DIR: &str = "cache";
/// On the volume: one fresh folder for each buildpack, for example `00-python`.
pub const PACKS_DIR: &str = "buildpacks";
/// On the volume: the programs that the build zone runs. Fetch copies them from the operator's image.
pub const BIN_DIR: &str = "slipway/bin";
/// On the volume: the list of the packs that fetch stored there, in order ([`crate::zone::report::Packs`]).
pub const PACKS_FILE: &str = "slipway/packs.json";
/// On the volume: the build zone's report to export ([`crate::zone::report::BuildReport`]).
pub const RESULT_FILE: &str = "slipway/result.json";

/// In the operator's image: the static programs.
pub const PROGRAMS: &str = "/usr/local/lib/slipway";
/// Name of the builder, the program that runs buildpacks.
pub const BUILDER: &str = "slipway-builder";
/// Name of the program that buildpacks call for what bash is bad at.
pub const PACK: &str = "slipway-pack";
/// Name of the launcher, the entrypoint of an App's image.
pub const LAUNCHER: &str = "slipway-launcher";
/// Name of the prober, which runs the checks that a kubelet probe cannot.
pub const PROBER: &str = "slipway-prober";

/// Variable that tells the launcher how many seconds the kubelet waits between SIGTERM and SIGKILL.
pub const STOP_SECONDS: &str = "SLIPWAY_STOP_SECONDS";

/// In an App's image: the launcher, its entrypoint.
pub const LAUNCHER_IN_IMAGE: &str = "/slipway/launcher";
