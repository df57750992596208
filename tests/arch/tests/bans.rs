//! What a module may never import, whatever `edges.txt` says, and why.

use slipway_arch::imports::{Source, sources};

use crate::root;

/// A rule about the files whose path begins with `files` (and ends with one of `named`, where there are any).
struct Ban {
    files: &'static str,
    named: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        files: "domain/",
        named: &[],
        never: &[
            "kube",
            "k8s_openapi",
            "tokio",
            "std::env",
            "std::fs",
            "bollard",
            "tracing",
            "crate::k8s",
            "crate::decide",
            "crate::desired",
            "crate::controllers",
            "crate::build",
            "crate::source",
        ],
        why: "Dokku's rules are read without Kubernetes, and tested by calling a function",
    },
    Ban {
        files: "decide/",
        named: &[],
        never: &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "std::env",
            "std::fs",
            "bollard",
            "tracing",
            "crate::k8s",
            "crate::desired",
            "crate::controllers",
            "crate::build::docker",
        ],
        why: "a verdict is tested by a struct literal",
    },
    Ban {
        files: "desired/",
        named: &[],
        never: &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "std::env",
            "std::fs",
            "bollard",
            "tracing",
            "crate::k8s",
            "crate::decide",
            "crate::controllers",
            "slipway_crds::v1alpha1::App",
            "slipway_crds::v1alpha1::AppSpec",
        ],
        why: "builders decide nothing and look at nothing but a Release and what is live",
    },
    Ban {
        files: "controllers/",
        named: &["plan.rs", "status.rs"],
        never: &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "std::env",
            "std::fs",
            "bollard",
            "tracing",
        ],
        why: "plan and status are pure: observe reads, apply writes",
    },
    Ban {
        files: "build/plan.rs",
        named: &[],
        never: &[
            "kube",
            "k8s_openapi",
            "bollard",
            "tokio",
            "std::fs",
            "std::env",
        ],
        why: "the same plan has to do for every driver",
    },
    Ban {
        files: "build/docker/",
        named: &[],
        never: &["crate::controllers", "crate::decide", "kube"],
        why: "a driver executes a finished plan",
    },
    Ban {
        files: "source/",
        named: &[],
        never: &[
            "crate::desired",
            "crate::controllers",
            "crate::decide",
            "crate::k8s",
        ],
        why: "resolving a source deploys nothing",
    },
    Ban {
        files: "k8s/",
        named: &[],
        never: &[
            "crate::desired",
            "crate::controllers",
            "crate::domain",
            "crate::decide",
        ],
        why: "plumbing: it could be a crate of its own",
    },
    Ban {
        files: "telemetry/",
        named: &[],
        never: &[
            "crate::controllers",
            "crate::k8s",
            "crate::build",
            "crate::runtime",
        ],
        why: "handed down, never reached for",
    },
    Ban {
        files: "cli/",
        named: &[],
        never: &["crate::controllers", "crate::desired", "crate::decide"],
        why: "the command line is a client of the API, not a second operator",
    },
    Ban {
        files: "engine/",
        named: &[],
        never: &[
            "kube",
            "k8s_openapi",
            "tokio",
            "bollard",
            "slipway_crds",
            "crate::k8s",
            "crate::registry",
        ],
        why: "it runs inside the Stack's image, as a small static program",
    },
    Ban {
        files: "launcher/",
        named: &[],
        never: &["kube", "tokio", "ureq", "rustls", "crate::engine"],
        why: "it is in every App's image: small, static, without an async runtime",
    },
    Ban {
        files: "prober/",
        named: &[],
        never: &["kube", "tokio", "crate::engine"],
        why: "it is in every pod: small, static, without an async runtime",
    },
];

fn applies(ban: &Ban, source: &Source) -> bool {
    source.file.starts_with(ban.files)
        && (ban.named.is_empty() || ban.named.iter().any(|n| source.file.ends_with(n)))
}

fn breaches(ban: &Ban, source: &Source) -> Vec<String> {
    if !applies(ban, source) {
        return Vec::new();
    }
    source
        .named
        .iter()
        .map(|n| n.parts.join("::"))
        .filter(|path| {
            ban.never
                .iter()
                .any(|never| path == never || path.starts_with(&format!("{never}::")))
        })
        .map(|path| format!("{} names {path}: {}", source.file, ban.why))
        .collect()
}

#[test]
fn no_module_imports_what_it_never_may() {
    let sources = sources(&root().join("controller/src")).expect("the source can be read");
    let found: Vec<String> = BANS
        .iter()
        .flat_map(|ban| sources.iter().flat_map(move |s| breaches(ban, s)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_rule_is_about_files_that_are_gone() {
    let sources = sources(&root().join("controller/src")).expect("the source can be read");
    let idle: Vec<&str> = BANS
        .iter()
        .filter(|ban| !sources.iter().any(|source| applies(ban, source)))
        .map(|ban| ban.files)
        .collect();
    assert!(idle.is_empty(), "no file begins with {idle:?}");
}

#[test]
fn the_api_types_bring_no_client_and_no_runtime_with_them() {
    let manifest = std::fs::read_to_string(root().join("crds/Cargo.toml")).expect("it is there");
    let manifest: toml::Table = toml::from_str(&manifest).expect("it can be read");
    let names: Vec<&String> = manifest
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map(|t| t.keys().collect())
        .unwrap_or_default();
    assert_eq!(
        names,
        [
            "k8s-openapi",
            "kube",
            "schemars",
            "serde",
            "serde_json",
            "sha2"
        ],
        "command line, tests and other people's tools use the API types: each dependency is a decision"
    );
}
