//! The programs that are built with Go, with their packages and flags. All use one go.mod, so that a dependency of
//! several programs has one version and is compiled once. A tool is built again only when its key changes.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::components::dns;
use crate::layout::Layout;

mod build;
mod plugins;

pub use build::build_missing;

const MODULE: &str = include_str!("../tools/go.mod");
const SUMS: &str = include_str!("../tools/go.sum");
const COREDNS: &str = "github.com/coredns/coredns";

/// Programs that are built together.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub name: &'static str,
    /// Name and package of each program. Only the single program of a tool may have another name than its package.
    programs: &'static [(&'static str, &'static str)],
    tags: &'static [&'static str],
    version: Option<(&'static str, &'static str, &'static str)>,
    /// For CoreDNS, the plugins that are compiled in.
    plugins: &'static [&'static str],
}

const PLAIN: Tool = Tool {
    name: "",
    programs: &[],
    tags: &[],
    version: None,
    plugins: &[],
};

pub const ETCD: Tool = Tool {
    name: "etcd",
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    ..PLAIN
};
const CNI: Tool = Tool {
    name: "cni",
    programs: &[
        (
            "ptp",
            "github.com/containernetworking/plugins/plugins/main/ptp",
        ),
        (
            "host-local",
            "github.com/containernetworking/plugins/plugins/ipam/host-local",
        ),
        (
            "loopback",
            "github.com/containernetworking/plugins/plugins/main/loopback",
        ),
        (
            "portmap",
            "github.com/containernetworking/plugins/plugins/meta/portmap",
        ),
    ],
    ..PLAIN
};
const CONTAINERD: Tool = Tool {
    name: "containerd",
    programs: &[
        (
            "containerd",
            "github.com/containerd/containerd/v2/cmd/containerd",
        ),
        (
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ),
        ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ],
    // Images use overlayfs, and nothing uses cache or memory bandwidth classes.
    tags: &["no_devmapper", "no_rdt", "no_zfs"],
    ..PLAIN
};
pub const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    // Without this version the programs call themselves v0.0.0, and clients refuse that.
    version: Some(("v1.37.2", "1", "37")),
    ..PLAIN
};
/// Simulated nodes, for `make bench-scale` alone: `up` does not build it.
pub const KWOK: Tool = Tool {
    name: "kwok",
    programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    ..PLAIN
};
/// What every cluster needs.
pub const ALL: [Tool; 7] = [
    ETCD,
    CNI,
    CONTAINERD,
    KUBERNETES,
    Tool {
        name: "coredns",
        programs: &[("coredns", COREDNS)],
        plugins: &dns::PLUGINS,
        ..PLAIN
    },
    Tool {
        name: "local-path-provisioner",
        programs: &[(
            "local-path-provisioner",
            "github.com/rancher/local-path-provisioner",
        )],
        ..PLAIN
    },
    Tool {
        name: "helm",
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
        ..PLAIN
    },
];

impl Tool {
    fn flags(&self) -> Vec<String> {
        let mut linker = "-s -w".to_owned();
        if let Some((version, major, minor)) = self.version {
            for package in [
                "k8s.io/component-base/version",
                "k8s.io/client-go/pkg/version",
            ] {
                let _ = write!(
                    linker,
                    " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
                );
            }
        }
        [
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            // The linker would drop the debug information; not generating it saves a seventh of the compiler's time.
            // Packages are compiled again for other flags, so every tool has the same.
            "-gcflags=all=-dwarf=false",
            &format!("-tags={}", self.tags.join(",")),
            "-ldflags",
            &linker,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Short hash of everything that its programs depend on.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let packages: Vec<&str> = self.programs.iter().map(|(_, package)| *package).collect();
        for part in [
            MODULE,
            SUMS,
            &self.flags().join(" "),
            &packages.join(" "),
            &self.plugins.join(" "),
        ] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .take(8)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    fn folder(&self, layout: &Layout) -> String {
        format!("{}/tools/{}-{}", layout.cache, self.name, self.key())
    }

    fn built(&self, layout: &Layout) -> bool {
        let folder = self.folder(layout);
        self.programs
            .iter()
            .all(|(program, _)| Path::new(&format!("{folder}/{program}")).exists())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_flags_make_the_key() {
        let all = ALL.iter().chain([&KWOK]);
        let keys: std::collections::BTreeSet<String> = all.map(Tool::key).collect();
        assert_eq!(keys.len(), ALL.len() + 1);
        let other = Tool {
            version: None,
            ..KUBERNETES
        };
        assert_ne!(other.key(), KUBERNETES.key());
        let other = Tool {
            tags: &["no_tracing"],
            ..ETCD
        };
        assert_ne!(other.key(), ETCD.key());
        let other = Tool {
            plugins: &["errors"],
            ..ETCD
        };
        assert_ne!(other.key(), ETCD.key());
    }

    #[test]
    fn programs_that_are_built_together_are_called_as_go_calls_them() {
        for tool in ALL.iter().chain([&KWOK]) {
            for (program, package) in tool.programs {
                assert!(
                    tool.programs.len() == 1 || package.rsplit('/').next() == Some(program),
                    "{package}"
                );
                assert!(MODULE.contains(&format!("\t{package}\n")), "{package}");
            }
        }
    }

    #[test]
    fn the_stamped_version_is_the_pinned_one() {
        let (version, major, minor) = KUBERNETES.version.expect("stamped");
        assert!(MODULE.contains(&format!("k8s.io/kubernetes {version} ")));
        assert!(version.starts_with(&format!("v{major}.{minor}.")));
    }
}
