//! What the bundled buildpacks need and bash does badly: npm's version ranges against a registry's releases, downloads
//! with a checksum, and values from JSON.
//!
//! This module knows no rules of a language: the buildpack chooses the range, the default and the messages. Downloads
//! use curl, so that proxies, certificates and names work as in the rest of the build.

pub mod curl;
pub mod integrity;
pub mod json;
pub mod releases;
