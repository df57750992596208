//! Two of the three zones of a build, `fetch` and `export`, and the only way out of the zone between them, `egress`.
//! `slipway_base::zone` has what they are told and say.

pub mod archive;
pub mod console;
pub mod credentials;
pub mod disk;
pub mod egress;
pub mod export;
pub mod fetch;
