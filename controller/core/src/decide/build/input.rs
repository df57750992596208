//! The input of the verdict about a Build, and the verdict.

use jiff::Timestamp;
use slipway_crds::v1alpha1::{Build, BuildSource, BuildStack};

use crate::domain::app::BuildInputs;

/// The input of [`super::verdict`].
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Name of the App.
    pub app: &'a str,
    /// UID of the App.
    pub uid: &'a str,
    /// What is built.
    pub source: &'a BuildSource,
    /// The number of its Revision, if it has one.
    pub number: Option<i64>,
    /// What the spec says about builds.
    pub inputs: &'a BuildInputs,
    /// A hash of the variables that a build would get now, with the values behind references.
    pub env: &'a str,
    /// A hash of the variables as the spec names them, made by [`super::variables`].
    pub variables: &'a str,
    /// The Stack as it is now.
    pub stack: &'a BuildStack,
    /// Value of the annotation that asks for a build.
    pub request: Option<&'a str>,
    /// The App's Builds.
    pub builds: &'a [Build],
    /// The current time.
    pub now: Timestamp,
}

/// Which Build is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<'a> {
    /// This existing Build, whether it succeeded or not.
    Exists(&'a Build),
    /// This Build was interrupted; at this time the operator makes another attempt.
    Retry(&'a Build, Timestamp),
    /// A new Build.
    Make {
        /// Name of the new Build.
        name: String,
        /// Hash of its inputs.
        inputs: String,
        /// The number of the attempt with these inputs, from 1 on.
        attempt: i64,
        /// Why the Build is made.
        cause: String,
        /// The value of the annotation that requested it.
        request: Option<String>,
    },
}
