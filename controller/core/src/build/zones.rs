//! The state of a Build's zones, as a driver reports it.

use slipway_base::zone::Zone;

/// The state of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// There is no container, or it was removed.
    Absent,
    /// It was never started, and something is being prepared for it.
    Preparing(Preparing),
    /// It runs.
    Running,
    /// It has ended.
    Exited {
        /// Exit code of its program.
        code: i64,
        /// Who ended it.
        by: EndedBy,
        /// How long it ran.
        milliseconds: u64,
    },
}

/// What a zone waits for before it starts. The driver prepares it by itself; each call of its `start` returns how far
/// it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparing {
    /// What it is.
    pub awaits: Awaited,
    /// Why the last attempt failed. The driver tries again by itself.
    pub trouble: Option<String>,
}

/// What a zone may wait for. A driver that waits for more, such as a node with room or a volume, adds it here, and
/// [`crate::build::status::preparing`] says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The image with this reference is on its way.
    Image(String),
    /// Only another `start`: an earlier call was interrupted.
    Start,
}

/// Who ended a zone. For more causes that the driver can tell, such as a node that was drained or ran out of disk
/// space, it reports [`EndedBy::Outside`]: another attempt may succeed. A cause that needs words of its own becomes a
/// variant here, and `build::status` words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Its program ended; the exit code is the program's own.
    Itself,
    /// The kernel killed a process in it because it ran out of memory.
    Memory,
    /// It was killed from outside, or was found dead after the engine had been restarted. Another attempt may succeed.
    Outside,
}

/// The state of each zone of a Build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones {
    /// The fetch zone.
    pub fetch: ZoneState,
    /// The build zone.
    pub build: ZoneState,
    /// The export zone.
    pub export: ZoneState,
}

impl Zones {
    /// No zone has a container.
    pub const NONE: Self = Self {
        fetch: ZoneState::Absent,
        build: ZoneState::Absent,
        export: ZoneState::Absent,
    };

    /// The state of one zone.
    pub const fn of(&self, zone: Zone) -> &ZoneState {
        match zone {
            Zone::Fetch => &self.fetch,
            Zone::Build => &self.build,
            Zone::Export => &self.export,
        }
    }
}
