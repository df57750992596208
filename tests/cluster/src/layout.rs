//! Paths in the state folder (removed by `down`) and the cache (kept). Nothing is created or read here.

use anyhow::{Result, bail};

/// Variable in the environment of every process of the cluster, so that a sweep finds those whose pidfile was never
/// written.
pub const MARKER: &str = "SLIPWAY_CLUSTER_STATE";

/// The two folders, as absolute strings that need no quoting in any of the configuration files.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Everything of one running cluster; removed by `down`.
    pub state: String,
    /// Built programs; kept by `down`.
    pub cache: String,
}

impl Layout {
    /// A unix socket's path has at most 107 characters; the longest one below the state folder takes 70.
    const LONGEST_STATE: usize = 36;

    pub fn new(state: &str, cache: &str) -> Result<Self> {
        for (what, path) in [("--state", state), ("--cache", cache)] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            if !path.starts_with('/') || path.len() < 4 || !path.chars().all(plain) {
                bail!(
                    "{what} {path:?}: give an absolute path of letters, digits and . _ - / (it goes into configuration files that cannot quote)"
                );
            }
        }
        Ok(Self {
            state: state.trim_end_matches('/').to_owned(),
            cache: cache.trim_end_matches('/').to_owned(),
        })
    }

    /// Fails if the path of a socket below the state folder would be too long.
    pub fn check_length(&self) -> Result<()> {
        if self.state.len() > Self::LONGEST_STATE {
            bail!(
                "--state {}: at most {} characters, because unix socket paths below it are limited",
                self.state,
                Self::LONGEST_STATE
            );
        }
        Ok(())
    }

    /// A path below the state folder.
    pub fn at(&self, rest: &str) -> String {
        format!("{}/{rest}", self.state)
    }

    pub fn cert(&self, name: &str) -> String {
        self.at(&format!("pki/{name}.crt"))
    }

    pub fn key(&self, name: &str) -> String {
        self.at(&format!("pki/{name}.key"))
    }

    pub fn public_key(&self, name: &str) -> String {
        self.at(&format!("pki/{name}.pub"))
    }

    pub fn kubeconfig(&self, name: &str) -> String {
        self.at(&format!("kubeconfig/{name}"))
    }

    pub fn log(&self, name: &str) -> String {
        self.at(&format!("logs/{name}.log"))
    }

    pub fn pidfile(&self, name: &str) -> String {
        self.at(&format!("pids/{name}.json"))
    }

    pub fn facts(&self) -> String {
        self.at("facts.json")
    }

    /// Our certificate authority and the host's, in one file.
    pub fn ca_bundle(&self) -> String {
        self.at("pki/ca-bundle.crt")
    }

    pub fn containerd_socket(&self) -> String {
        self.at("run/containerd.sock")
    }

    pub fn engine_socket(&self) -> String {
        self.at("run/docker.sock")
    }

    /// Links to every built program.
    pub fn bin(&self) -> String {
        format!("{}/bin", self.cache)
    }

    pub fn program(&self, name: &str) -> String {
        format!("{}/bin/{name}", self.cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_would_need_quoting_or_is_too_long_is_refused() {
        assert!(Layout::new("/var/lib/slipway-cluster", "/root/.cache/slipway").is_ok());
        for state in ["relative", "/", "/with space/x", "/quote\"d"] {
            assert!(Layout::new(state, "/cache").is_err(), "{state}");
        }
        assert!(Layout::new("/state", "$HOME/.cache").is_err());
        let long =
            Layout::new("/a-state-folder-whose-name-is-far-too-long", "/cache").expect("plain");
        assert!(long.check_length().is_err());
    }
}
