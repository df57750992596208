//! What the pods of all versions of the rules are made of. Each part is here once; a version ([`v1`](crate::desired::v1),
//! [`v2`](crate::desired::v2)) puts parts together, and has beside it what only it does.
//!
//! `common` is what every pod of a Release has, whatever it runs: image, config, variables, volumes, resources, what
//! it may do on its node, and the launcher as its first process. `long_running` adds what only a process that stays
//! has: ports, probes, the sleep before it is asked to stop, and how its pods are spread.
//!
//! A change here that changes the bytes of a template replaces the pods of every App, as the goldens of every version
//! will show: make it in a new version.

pub(crate) mod common;
pub(crate) mod escape;
pub(crate) mod long_running;
pub(crate) mod probe;
pub(crate) mod programs;
mod resources;
mod security;
mod volumes;
