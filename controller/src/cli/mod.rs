//! Command lines → what they ask for. Each command is a module with its arguments and one function.

pub mod stack;
pub mod zone;
