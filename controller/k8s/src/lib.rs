//! What every controller needs of the Kubernetes API. Knows nothing of Apps beyond names and labels of objects.

pub mod answer;
pub mod apply;
pub mod backoff;
pub mod brief;
mod by_hand;
pub mod cache;
pub mod classify;
pub mod client;
pub mod clock;
pub mod conditions;
pub mod diff;
pub mod events;
pub mod gates;
pub mod lease;
mod managed_fields;
pub mod network;
pub mod ownership;
pub mod pages;
pub mod prune;
pub mod scaled;

/// Who applies: one name a controller, so that each owns its fields and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldManager {
    /// The App controller.
    App,
    /// The Build controller.
    Build,
    /// The Release controller.
    Release,
    /// Whoever publishes a Stack.
    Stack,
    /// The operator itself: its certificates and its registration with the API server.
    Operator,
}

impl FieldManager {
    /// As written in `managedFields`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "slipway/app",
            Self::Build => "slipway/build",
            Self::Release => "slipway/release",
            Self::Stack => "slipway/stack",
            Self::Operator => "slipway/operator",
        }
    }
}
