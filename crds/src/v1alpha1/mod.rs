//! The first version of the API.
//!
//! ```text
//! App ─▶ Revision ─▶ Build ─▶ Release ─▶ Deployments, Services, claims
//!           Stack ─────┘
//! ```
//!
//! An App is what the user wants; nobody but its author writes its spec. Revision, Build and Release are
//! records: made once with *create*, immutable, each from the one to its left.

mod app;
mod build;
mod release;
mod revision;
mod shared;
mod stack;

pub use app::*;
pub use build::*;
pub use release::*;
pub use revision::*;
pub use shared::*;
pub use stack::*;
