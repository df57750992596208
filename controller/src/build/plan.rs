//! What a driver is to run: containers, volume, limits, inputs. Pure.

use std::time::Duration;

use crate::zone::Zone;

/// A whole build, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildPlan {
    /// UID of the Build: every container and volume carries it.
    pub uid: String,
    /// Namespace of the Build.
    pub namespace: String,
    /// Name of the Build.
    pub name: String,
    /// Name of the volume that the zones share.
    pub volume: String,
    /// The zones, in order.
    pub zones: Vec<ZonePlan>,
    /// Most time from the first zone's start to the last one's end.
    pub timeout: Duration,
}

/// One zone's container.
#[derive(Clone, PartialEq, Eq)]
pub struct ZonePlan {
    /// Which zone.
    pub zone: Zone,
    /// Name of the container: the same for the same Build, so that it is never started twice.
    pub container: String,
    /// Image, with the address by which the engine pulls it, by digest.
    pub image: String,
    /// Program and arguments; replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Environment of the program. No secrets: the engine shows it to whoever may inspect containers.
    pub env: Vec<(String, String)>,
    /// User and group.
    pub user: i64,
    /// Where the volume is mounted.
    pub mount: String,
    /// Paths of tmpfs mounts.
    pub tmpfs: Vec<String>,
    /// Files put into the container before it starts.
    pub files: Vec<PlanFile>,
    /// Limits.
    pub limits: Limits,
}

/// A file put into a container before it starts, owned by the zone's user.
#[derive(Clone, PartialEq, Eq)]
pub struct PlanFile {
    /// Absolute path; its folder is made, owned by the zone's user.
    pub path: String,
    /// Mode bits.
    pub mode: u32,
    /// Content, which may be secret.
    pub content: Vec<u8>,
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<i64>,
    /// Thousandths of a CPU.
    pub milli_cpus: Option<i64>,
    /// Processes.
    pub pids: Option<i64>,
}

impl std::fmt::Debug for ZonePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZonePlan")
            .field("zone", &self.zone)
            .field("container", &self.container)
            .field("image", &self.image)
            .field("command", &self.command)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
