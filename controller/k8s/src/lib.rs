//! What every controller needs for the Kubernetes API. Of Apps, it knows only the names and labels of their objects.

pub mod answer;
pub mod apply;
pub mod backoff;
pub mod brief;
mod by_hand;
pub mod cache;
pub mod classify;
pub mod client;
pub mod clock;
pub mod diff;
pub mod events;
pub mod gates;
pub mod lease;
mod managed_fields;
pub mod network;
pub mod numbered;
pub mod ownership;
pub mod pages;
pub mod prune;
pub mod scaled;

/// Field managers of server-side apply: one for each controller, so that each owns only its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldManager {
    /// The App controller.
    App,
    /// The Build controller.
    Build,
    /// The Release controller.
    Release,
    /// `slipway stack publish`.
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
