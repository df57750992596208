//! Settings → environment of buildpack processes: certificates, mirrors, proxies. Pure.
//!
//! Every program looks for its certificates under a name of its own, and most of them then trust those alone: so a
//! whole bundle, the public authorities among it, goes into the container as one file, and each name points at it.

use std::collections::BTreeMap;

use crate::{
    build::file::PlanFile,
    settings::{BuildSettings, Egress},
};
use slipway_base::zone::layout;

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

/// By which programs find a proxy. Some look for one spelling only; curl takes `http_proxy` in small letters alone.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy"];
/// What an administrator may say of proxies, which then is for ours to know.
const PROXY_SETTINGS: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// What a build has on its own machine: test servers, daemons of compilers.
const OWN_MACHINE: &str = "localhost,127.0.0.1,::1";

/// Environment of buildpack processes. What the administrator sets wins over what follows from the bundle, but for the
/// way out where that is through a proxy of ours.
pub fn of_buildpacks(builds: &BuildSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if builds.ca_pem.is_some() {
        for name in CA_VARIABLES {
            env.insert(name.to_owned(), CA_FILE.to_owned());
        }
    }
    env.extend(builds.env.clone());
    if builds.egress == Egress::Proxy {
        let proxy = format!("http://{}:{}", layout::EGRESS_HOST, layout::EGRESS_PORT);
        for name in PROXY_SETTINGS {
            env.remove(name);
        }
        for name in PROXY_VARIABLES {
            env.insert(name.to_owned(), proxy.clone());
        }
        for name in ["NO_PROXY", "no_proxy"] {
            env.insert(name.to_owned(), OWN_MACHINE.to_owned());
        }
        // Node.js itself takes a proxy from the environment only if told so.
        env.insert("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    }
    env
}

/// What the administrator says of proxies, for the one of ours.
pub fn proxies(builds: &BuildSettings) -> BTreeMap<String, String> {
    let mut env = builds.env.clone();
    env.retain(|name, _| PROXY_SETTINGS.contains(&name.as_str()));
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
