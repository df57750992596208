//! What the Makefile's targets do: the stack, the operator's image, its installation, the demo, the benches.

pub mod bench;
pub mod demo;
pub mod earlier;
pub mod image;
pub mod install;
pub mod scale;
pub mod stack;
pub mod steps;
