//! The addresses and files of a cluster: written when it is up, read by tests and the Makefile.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::components::{PUSH_ACCOUNT, Site, apiserver, engine, registry};
use crate::files;
use crate::layout::Layout;
use crate::network::{DNS_DOMAIN, Network};
use crate::tools;

/// The answer of `status --json`, and the content of `facts.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Path of the admin's kubeconfig.
    pub kubeconfig: String,
    pub node_address: String,
    pub registry: Registry,
    pub engine: Engine,
    /// The cluster's authority and the machine's, for builds and pods that connect to the outside.
    pub ca_bundle_file: String,
    /// Log of every write to the API, and every read by the operator, one JSON object a line.
    pub audit_log: String,
    pub log_dir: String,
    /// Folder with kubectl and helm.
    pub bin_dir: String,
    pub service_cidr: String,
    pub pod_cidr: String,
    pub dns_domain: String,
    /// A hash of the versions and flags that each tool was built with. When one changes, `up` makes a new cluster.
    pub tools: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// The registry as the operator and this machine name it.
    pub push: String,
    /// The registry as the engine names it.
    pub engine: String,
    /// The registry as a pod's image names it; the node has an account of its own for it.
    pub pull: String,
    pub username: String,
    pub password_file: String,
    pub ca_file: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    pub address: String,
    pub socket: String,
    pub ca_file: String,
    pub cert_file: String,
    pub key_file: String,
}

impl Facts {
    pub fn of(site: &Site) -> Self {
        let (layout, network) = (&site.layout, site.network);
        Self {
            kubeconfig: layout.kubeconfig("admin"),
            node_address: network.node(),
            registry: Registry {
                push: network.registry(),
                engine: network.registry(),
                pull: Network::pull_registry(),
                username: PUSH_ACCOUNT.to_owned(),
                password_file: registry::password_file(layout),
                ca_file: layout.cert("ca"),
            },
            engine: Engine {
                address: engine::address(network),
                socket: layout.engine_socket(),
                ca_file: layout.cert("engine-ca"),
                cert_file: layout.cert("engine-client"),
                key_file: layout.key("engine-client"),
            },
            ca_bundle_file: layout.ca_bundle(),
            audit_log: apiserver::audit_log(layout),
            log_dir: layout.at("logs"),
            bin_dir: layout.bin(),
            service_cidr: network.services(),
            pod_cidr: network.pods(),
            dns_domain: DNS_DOMAIN.to_owned(),
            tools: tools::ALL
                .iter()
                .map(|tool| (tool.name.to_owned(), tool.key()))
                .collect(),
        }
    }

    pub fn write(&self, layout: &Layout) -> Result<()> {
        files::write(
            &layout.facts(),
            serde_json::to_string_pretty(self)?.as_bytes(),
            0o644,
        )
    }

    /// The facts of the cluster that is up.
    pub fn read(layout: &Layout) -> Result<Self> {
        let path = layout.facts();
        let text = fs::read_to_string(&path).with_context(|| {
            format!("no cluster is up (no {path}): run `slipway-cluster up` or `make cluster-up`")
        })?;
        serde_json::from_str(&text).with_context(|| {
            format!("{path} is not what this program writes: run `slipway-cluster down`, then `up`")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Accounts;

    #[test]
    fn facts_are_read_as_they_were_written_and_hold_no_secret() {
        let folder = tempfile::tempdir().expect("folder");
        let layout = Layout {
            state: folder.path().to_string_lossy().into_owned(),
            cache: "/cache".to_owned(),
        };
        let site = Site {
            layout: layout.clone(),
            network: "10.98.0.0/16".parse().expect("network"),
            mtu: 1500,
            resolv_conf: "/etc/resolv.conf".to_owned(),
            accounts: Accounts {
                push_password: "s3cret".to_owned(),
                ..Accounts::default()
            },
        };
        assert!(
            Facts::read(&layout)
                .expect_err("not up")
                .to_string()
                .contains("cluster-up")
        );
        let facts = Facts::of(&site);
        facts.write(&layout).expect("written");
        assert_eq!(Facts::read(&layout).expect("read"), facts);
        assert_ne!(facts.registry.push, facts.registry.pull);
        assert!(
            !fs::read_to_string(layout.facts())
                .expect("text")
                .contains("s3cret")
        );
    }
}
