//! Command lines → what they ask for. Each command is a module with its arguments and one function. Whoever speaks to
//! the cluster is a client like any other, with whatever rights its user has.

pub mod logs;
pub mod stack;
pub mod zone;
