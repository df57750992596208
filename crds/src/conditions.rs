//! Condition types and reasons: the only place that has their names. Also how conditions are read.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::v1alpha1::{App, AppStatus, Build, BuildStatus, Release, ReleaseStatus};

/// Condition types. `Reconciling` and `Stalled` are abnormal-true (kstatus): present only when true.
pub mod types {
    /// The current inputs serve.
    pub const READY: &str = "Ready";
    /// Some good release serves, perhaps not the current inputs.
    pub const AVAILABLE: &str = "Available";
    /// Work is under way.
    pub const RECONCILING: &str = "Reconciling";
    /// Nothing more happens until somebody changes something.
    pub const STALLED: &str = "Stalled";
    /// The source was looked up and a Revision exists for it.
    pub const SOURCE_READY: &str = "SourceReady";
    /// The current Revision and build inputs have an image.
    pub const BUILT: &str = "Built";
    /// A Release exists for the current image and configuration.
    pub const RELEASED: &str = "Released";
    /// The current Release passed its checks.
    pub const CHECKS_PASSED: &str = "ChecksPassed";
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a condition has its status, and why an Event was written. CamelCase, at most 128 characters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name),+ }

        impl Reason {
            /// Every reason, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As written in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The reason of this name, as written in a condition; `None` if this operator does not know it.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
            }
        }
    };
}

reasons! {
    /// Everything that was asked for is done.
    Succeeded,
    /// Serving the current inputs.
    Serving,
    /// Work goes on.
    Progressing,
    /// `spec.suspend` is set: nothing is looked up, built or released.
    Suspended,
    /// The spec cannot be carried out as written.
    InvalidSpec,
    /// The name is taken by an object that is not ours.
    NameTaken,
    /// The source is being looked up.
    ResolvingSource,
    /// The source answered, and a Revision was made.
    RevisionCreated,
    /// The source was unavailable or refused access; the operator tries again.
    SourceUnavailable,
    /// The source has no such branch, tag, commit or image.
    SourceNotFound,
    /// The image is for another platform than that of the nodes.
    PlatformMismatch,
    /// A Secret or ConfigMap that is referred to does not exist, or lacks the key.
    ReferenceMissing,
    /// The Stack does not exist or lists no packs.
    StackMissing,
    /// A Build was made.
    BuildCreated,
    /// A Build waits for its turn.
    BuildQueued,
    /// A Build waits until the build engine has an image.
    PullingImage,
    /// A Build is running.
    BuildRunning,
    /// A Build made an image.
    BuildSucceeded,
    /// A Build failed; the same inputs are not built again by themselves.
    BuildFailed,
    /// Something outside interrupted a Build: a server, the registry, the build engine.
    BuildInterrupted,
    /// A Build ran longer than its time limit.
    BuildTimedOut,
    /// A Build was cancelled on request.
    BuildCancelled,
    /// A newer Build of the same App superseded a Build.
    BuildSuperseded,
    /// The source is an image: nothing is built.
    NoBuildNeeded,
    /// A Release was made.
    ReleaseCreated,
    /// A Release is rolling out.
    Deploying,
    /// A Release serves.
    Deployed,
    /// A Release's checks failed.
    ChecksFailed,
    /// A Release did not become ready before `deadlines.deploy`.
    DeadlineExceeded,
    /// The roll-out goes back to the last good Release.
    RolledBack,
    /// An image cannot be pulled.
    ImagePullFailed,
    /// The registry of an image did not answer the nodes, or refused access.
    RegistryUnavailable,
    /// The registry accepts everybody without an account.
    RegistryOpen,
    /// A container exits again and again.
    CrashLoop,
    /// A container was killed because it ran out of memory.
    OutOfMemory,
    /// No node can take a pod.
    Unschedulable,
    /// A container cannot be created (a volume, a Secret, a security rule).
    ContainerFailed,
    /// The image wants to run as root.
    RootRequired,
    /// A claim is not bound.
    StoragePending,
    /// The App has no process that runs.
    NoProcesses,
    /// A newer Release took over.
    Superseded,
    /// The API server or another service is unavailable; the operator tries again.
    TemporaryFailure,
    /// An earlier stage has no result yet.
    Waiting,
    /// This operator cannot read a record of the App, perhaps because a newer one made it.
    RecordUnreadable,
    /// Somebody else made or changed a Revision, Build or Release: nothing is done for it.
    RecordIgnored,
}

/// An object whose status has conditions, or such a status.
pub trait Conditioned {
    /// All of them; none if there is no status yet.
    fn conditions(&self) -> &[Condition];

    /// The condition of this type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        let mut conditions = self.conditions().iter();
        conditions.find(|condition| condition.type_ == type_)
    }

    /// Whether the condition of this type exists and has this status: `True`, `False` or `Unknown`.
    fn is(&self, type_: &str, status: &str) -> bool {
        let condition = self.condition(type_);
        condition.is_some_and(|condition| condition.status == status)
    }

    /// Whether the condition of this type exists and has this reason.
    fn is_for(&self, type_: &str, reason: Reason) -> bool {
        let condition = self.condition(type_);
        condition.is_some_and(|condition| condition.reason == reason.as_str())
    }
}

macro_rules! conditioned {
    ($($object:ty, $status:ty);+ $(;)?) => {$(
        impl Conditioned for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
        }

        impl Conditioned for $object {
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }
        }
    )+};
}

conditioned! {
    App, AppStatus;
    Build, BuildStatus;
    Release, ReleaseStatus;
}
