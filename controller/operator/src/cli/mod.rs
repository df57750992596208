//! Subcommands: each is a module with its arguments and one function. Towards the cluster, a command is an ordinary
//! client with its user's rights.

pub mod logs;
pub mod stack;
pub mod zone;
