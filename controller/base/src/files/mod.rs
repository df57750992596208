//! Files of an App's repository: text in, types out. Pure.

pub mod encoding;
pub mod misnamed;
pub mod procfile;
pub mod slugignore;
