//! Two of the three zones of a build, `fetch` and `export`, and `egress`, the only way out of the build zone between
//! them. `slipway_base::zone` defines their inputs and reports.

pub mod archive;
pub mod console;
pub mod credentials;
pub mod disk;
pub mod egress;
pub mod export;
pub mod fetch;
pub mod source;
