//! How far a Build's zones are, as a driver tells it.

use slipway_base::zone::Zone;

/// The state of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneState {
    /// There is nothing of it, or it was taken away.
    Absent,
    /// It was never started, and something is made ready for it.
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

/// What a zone waits for before it starts. The driver brings it about by itself; each call of its `start` tells how
/// far it is.
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
    /// Nothing but another `start`: an earlier call was broken off before its end.
    Start,
}

/// Who ended a zone. A driver that can tell more, such as a node that was drained or had no disk space left, says
/// [`EndedBy::Outside`]: another attempt may succeed. If one of these is to be said in other words, it becomes a variant
/// here, and `build::status` words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Its program ended; the exit code is the program's own.
    Itself,
    /// The kernel killed a process in it for want of memory.
    Memory,
    /// It was killed from outside, or was found dead after what runs it had been restarted. Another attempt may
    /// succeed.
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
    /// There is nothing of any zone.
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
