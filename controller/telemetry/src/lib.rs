//! What happens → numbers, lines, and whether all is well. Every meter is made once and handed to whoever counts;
//! nothing is reached for. Imports nothing of ours.

pub mod admin;
pub mod meters;
pub mod trace;
