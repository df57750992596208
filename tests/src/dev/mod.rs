//! What the Makefile's targets do: the stack, the operator's image, its installation, the demo, the bench.

pub mod bench;
pub mod demo;
pub mod image;
pub mod install;
pub mod stack;
pub mod steps;
