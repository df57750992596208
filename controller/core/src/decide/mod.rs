//! What is to be made, and why; what may go. Chains of small named rules over plain data. Pure: no client, no clock.

pub mod build;
pub mod chain;
pub mod release;
pub mod retire;
