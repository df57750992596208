//! All decisions of the operator, and none of its actions: API types and text in; verdicts, objects and plans out.
//! Pure: no client, no async runtime, no clock.

pub mod build;
pub mod conditions;
pub mod decide;
pub mod desired;
pub mod domain;
pub mod draft;
pub mod judge;
pub mod order;
pub mod records;
pub mod settings;
