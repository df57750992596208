//! Inputs → the hash that a Build records, and the name that begins with it.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use slipway_crds::{
    names,
    v1alpha1::{BuildEnvVar, BuildStack, Duration, Resources},
};

use crate::{decide::build::input::Input, domain::app::BuildInputs};

/// The inputs that a Build's name is a hash of. A new field must be skipped when it is empty, or every name changes.
#[derive(Serialize)]
struct Hashed<'a> {
    uid: &'a str,
    commit: &'a str,
    /// The number of a pushed Revision: a second push of the same commit asks for another build. A look-up that finds
    /// the same commit again does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_path: Option<&'a str>,
    stack: &'a BuildStack,
    buildpacks: &'a [String],
    env: &'a [BuildEnvVar],
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    /// How many attempts there were before.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
}

/// The name of an attempt; the first attempt is number 1.
pub(super) fn name(input: &Input<'_>, request: Option<&str>, attempt: i64) -> String {
    let hash = hash(input, request, attempt);
    names::hashed(input.app, hash.get(..names::HASH).unwrap_or(&hash))
}

/// Hash of the inputs, the same for every attempt.
pub(super) fn inputs(input: &Input<'_>, request: Option<&str>) -> String {
    let mut hash = hash(input, request, 1);
    hash.truncate(40);
    hash
}

fn hash(input: &Input<'_>, request: Option<&str>, attempt: i64) -> String {
    let BuildInputs {
        // Part of `stack`, by digest.
        stack: _,
        buildpacks,
        own_env,
        // A change of the App's own variables alone makes no Build.
        env: _,
        // Nor does a change of the operator's default.
        timeout: _,
        own_timeout,
        resources,
    } = input.inputs;
    let hashed = Hashed {
        uid: input.uid,
        commit: input.source.commit().unwrap_or_default(),
        push: input.number.filter(|_| input.source.push.is_some()),
        sub_path: input.source.sub_path.as_deref(),
        stack: input.stack,
        buildpacks,
        env: own_env,
        timeout: *own_timeout,
        resources: resources.as_ref(),
        request,
        attempt: Some(attempt - 1).filter(|before| *before > 0),
    };
    // Plain data always has a JSON form.
    let json = serde_json::to_vec(&hashed).unwrap_or_default();
    hex::encode(Sha256::digest(json))
}
