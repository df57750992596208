//! The rules of the business, readable without Kubernetes: text and types in, types out. Pure.

#[cfg(feature = "operator")]
pub mod app;
#[cfg(feature = "operator")]
pub mod app_json;
#[cfg(feature = "operator")]
pub mod checks;
pub mod encoding;
#[cfg(feature = "operator")]
pub mod env;
#[cfg(feature = "operator")]
pub mod formation;
#[cfg(feature = "operator")]
pub mod image;
pub mod misnamed;
#[cfg(feature = "operator")]
pub mod pack_choice;
pub mod procfile;
#[cfg(feature = "operator")]
pub mod reference;
#[cfg(feature = "operator")]
pub mod repository;
pub mod slugignore;
