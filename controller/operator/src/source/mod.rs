//! What an App's source names now: a branch or tag → a commit, an image reference → a digest. Reads only.

pub mod git;
pub mod image;
pub mod schedule;
