//! Settings → environment of buildpack processes: certificates, mirrors, proxies. Pure.
//!
//! Each program reads the path of its CA file from a variable of its own, and most programs then trust only that file.
//! So the container gets one file with a whole bundle, the public CAs included, and all these variables name it.

use std::collections::BTreeMap;

use crate::{
    build::file::PlanFile,
    settings::{BuildSettings, Egress, Settings},
};
use slipway_base::zone::layout;

/// Path of the bundle in the build zone.
pub const CA_FILE: &str = "/slipway/ca.pem";

/// The variables by which OpenSSL, curl, Python's requests and pip, Node.js, npm, git and Cargo find CAs.
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

/// The variables by which programs find a proxy. Some read one spelling only: curl reads `http_proxy` only in lower
/// case.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy"];
/// Proxy variables that an administrator may set. With `egress: proxy`, Slipway's own proxy uses them; buildpacks do
/// not get them.
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
/// Value of `NO_PROXY`: the build's own container, where test servers and compiler daemons listen.
const OWN_MACHINE: &str = "localhost,127.0.0.1,::1";

/// Environment of buildpack processes. The administrator's settings win over the variables of the CA bundle. With
/// `egress: proxy`, the proxy variables always name Slipway's own proxy.
pub fn of_buildpacks(builds: &BuildSettings) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if builds.ca.is_some() {
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
        // Node.js itself uses the proxy variables only if this is set.
        env.insert("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    }
    env
}

/// The administrator's proxy variables, for Slipway's own proxy.
pub fn proxies(builds: &BuildSettings) -> BTreeMap<String, String> {
    let mut env = builds.env.clone();
    env.retain(|name, _| PROXY_SETTINGS.contains(&name.as_str()));
    env
}

/// The bundle as a file of the build zone. Buildpacks run as the user that owns it.
pub fn ca_file(settings: &Settings) -> Option<PlanFile> {
    settings.build_ca.as_ref().map(|pem| PlanFile {
        path: CA_FILE.to_owned(),
        mode: 0o444,
        content: pem.clone().into_bytes(),
    })
}
