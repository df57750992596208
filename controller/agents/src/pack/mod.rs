//! What the bundled buildpacks ask for because bash is bad at it: npm's version ranges against a registry's
//! releases, downloads with a checksum, values out of JSON.
//!
//! Nothing here knows a language's rules: which range, which default and which words to use is the pack's own.
//! Downloads go through curl, so that proxies, certificates and names work as everywhere else in the build.

pub mod curl;
pub mod integrity;
pub mod json;
pub mod releases;
