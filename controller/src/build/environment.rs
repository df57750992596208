//! Settings → environment of buildpack processes: certificates, mirrors, proxies. Pure.
//!
//! Every program looks for its certificates under a name of its own, and most of them then trust those alone: so a
//! whole bundle, the public authorities among it, goes into the container as one file, and each name points at it.

use std::collections::BTreeMap;

use crate::{build::plan::PlanFile, settings::BuildSettings};

/// Where the bundle lies in the build zone.
pub const CA_FILE: &str = "/slipway/ca.pem";

/// What OpenSSL, curl, Python's requests and pip, Node, npm, git and Cargo each go by.
const CA_VARIABLES: [&str; 8] = [
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// Environment of buildpack processes. What the administrator sets wins over what follows from the bundle.
pub fn of_buildpacks(builds: &BuildSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if builds.ca_pem.is_some() {
        for name in CA_VARIABLES {
            env.insert(name.to_owned(), CA_FILE.to_owned());
        }
    }
    env.extend(builds.env.clone());
    env
}

/// The bundle as a file of the build zone. Buildpacks run as the user that owns it.
pub fn ca_file(builds: &BuildSettings) -> Option<PlanFile> {
    builds.ca_pem.as_ref().map(|pem| PlanFile {
        path: CA_FILE.to_owned(),
        mode: 0o444,
        content: pem.clone().into_bytes(),
    })
}
