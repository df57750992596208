//! The site → each component's command line, configuration files and probe. Rendering only: nothing is written, started
//! or probed here.

pub mod apiserver;
pub mod containerd;
pub mod controller_manager;
pub mod dns;
pub mod engine;
pub mod etcd;
pub mod kubelet;
pub mod proxy;
pub mod registry;
pub mod scheduler;
pub mod storage;

use crate::files::File;
use crate::layout::Layout;
use crate::network::Network;
use crate::probes::Probe;
use crate::processes::Program;

/// The properties of the machine and the cluster that the components' configuration needs.
#[derive(Clone, Debug)]
pub struct Site {
    pub layout: Layout,
    pub network: Network,
    /// The largest packet that leaves the machine.
    pub mtu: u32,
    /// The resolv.conf that pods and the cluster's DNS use for outside names.
    pub resolv_conf: String,
    pub accounts: Accounts,
}

/// The registry's accounts. Empty if no files are written.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    pub push_password: String,
    pub pull_password: String,
    /// Both accounts with password hashes, in the registry's format.
    pub htpasswd: String,
}

pub const PUSH_ACCOUNT: &str = "slipway";
pub const PULL_ACCOUNT: &str = "node";

/// One process of the cluster.
#[derive(Clone, Debug)]
pub struct Component {
    pub program: Program,
    pub files: Vec<File>,
    pub probe: Probe,
}

/// All components, in the order in which they start.
pub fn all(site: &Site) -> Vec<Component> {
    vec![
        etcd::component(site),
        engine::component(site),
        registry::component(site),
        containerd::component(site),
        apiserver::component(site),
        controller_manager::component(site),
        scheduler::component(site),
        kubelet::component(site),
        proxy::component(site),
        dns::component(site),
        storage::component(site),
    ]
}

/// Objects that the cluster itself needs, for `kubectl apply`.
pub fn manifests(site: &Site) -> String {
    [
        include_str!("../../manifests/rbac.yaml"),
        include_str!("../../manifests/dns.yaml"),
        include_str!("../../manifests/storage.yaml"),
    ]
    .join("---\n")
    .replace("${NODE_ADDRESS}", &site.network.node())
    .replace("${DNS_ADDRESS}", &site.network.dns_service())
}

fn program(site: &Site, name: &'static str, flags: &[String]) -> Program {
    let mut words = vec![site.layout.program(name)];
    words.extend_from_slice(flags);
    Program {
        name,
        words,
        environment: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn site() -> Site {
        Site {
            layout: Layout::new("/var/lib/slipway-cluster", "/root/.cache/slipway")
                .expect("layout"),
            network: "10.98.0.0/16".parse().expect("network"),
            mtu: 1400,
            resolv_conf: "/etc/resolv.conf".to_owned(),
            accounts: Accounts {
                push_password: "push-password".to_owned(),
                pull_password: "pull-password".to_owned(),
                htpasswd: "slipway:hash\nnode:hash\n".to_owned(),
            },
        }
    }

    #[test]
    fn what_each_component_is_given_is_as_the_golden_says() {
        let site = site();
        let mut text = String::new();
        for Component {
            program,
            files,
            probe,
        } in all(&site)
        {
            let _ = writeln!(
                text,
                "##### {}\n{}",
                program.name,
                program.words.join("\n  ")
            );
            for (name, value) in &program.environment {
                let _ = writeln!(text, "  with {name}={value}");
            }
            for file in files {
                let secret = if file.secret { " (secret)" } else { "" };
                let _ = writeln!(
                    text,
                    "### {}{secret}\n{}",
                    file.path,
                    file.content.trim_end()
                );
            }
            let _ = writeln!(text, "### probe\n{probe:#?}\n");
        }
        let _ = writeln!(text, "##### manifests\n{}", manifests(&site));
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/components.txt");
        let wanted = std::fs::read_to_string(golden).unwrap_or_default();
        if text != wanted {
            let now = format!("{golden}.now");
            std::fs::write(&now, &text).expect("written");
            panic!(
                "the components differ from {golden}; compare with {now}, and move it there if it is right"
            );
        }
    }

    #[test]
    fn coredns_is_built_with_the_plugins_that_its_file_names() {
        let files = dns::component(&site()).files;
        let named: std::collections::BTreeSet<&str> = files
            .iter()
            .flat_map(|file| file.content.lines())
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| !line.starts_with([' ', '}']))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(named, dns::PLUGINS.into());
    }
}
