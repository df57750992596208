//! What a module may never import, and why, where the compiler does not say so.

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
        files: "core/src/",
        named: &[],
        never: &[
            "std::env",
            "std::fs",
            "std::net::TcpStream",
            "std::process",
            "std::thread",
            "std::time::Instant",
        ],
        why: "what is decided is told everything by its caller",
    },
    Ban {
        files: "core/src/domain/",
        named: &[],
        never: &[
            "kube",
            "k8s_openapi",
            "crate::decide",
            "crate::desired",
            "crate::build",
        ],
        why: "Dokku's rules are read without Kubernetes",
    },
    Ban {
        files: "core/src/decide/",
        named: &[],
        never: &["crate::desired", "crate::build"],
        why: "a verdict does not know how objects look",
    },
    Ban {
        files: "core/src/desired/",
        named: &[],
        never: &[
            "crate::decide",
            "slipway_crds::v1alpha1::App",
            "slipway_crds::v1alpha1::AppSpec",
        ],
        why: "builders decide nothing and look at nothing but a Release and what is live",
    },
    Ban {
        files: "core/src/judge/",
        named: &[],
        never: &[
            "crate::build",
            "slipway_crds::v1alpha1::App",
            "slipway_crds::v1alpha1::AppSpec",
        ],
        why: "how a Release stands is read off the Release and the cluster",
    },
    Ban {
        files: "core/src/build/",
        named: &[
            "plan.rs",
            "environment.rs",
            "file.rs",
            "mark.rs",
            "zones.rs",
        ],
        never: &["kube", "k8s_openapi"],
        why: "the same plan has to do for every driver",
    },
    Ban {
        files: "operator/src/controllers/",
        named: &["plan.rs", "status.rs"],
        never: &[
            "kube::Client",
            "kube::Api",
            "tokio",
            "std::env",
            "std::fs",
            "tracing",
        ],
        why: "plan and status are pure: observe reads, apply writes",
    },
    Ban {
        files: "operator/src/controllers/app/",
        named: &[],
        never: &["crate::controllers::build", "crate::controllers::release"],
        why: "controllers speak to each other by records",
    },
    Ban {
        files: "operator/src/controllers/build/",
        named: &[],
        never: &["crate::controllers::app", "crate::controllers::release"],
        why: "controllers speak to each other by records",
    },
    Ban {
        files: "operator/src/controllers/release/",
        named: &[],
        never: &["crate::controllers::app", "crate::controllers::build"],
        why: "controllers speak to each other by records",
    },
    Ban {
        files: "operator/src/source/",
        named: &[],
        never: &[
            "slipway_core::desired",
            "slipway_core::decide",
            "crate::controllers",
            "slipway_k8s",
        ],
        why: "resolving a source deploys nothing",
    },
    Ban {
        files: "operator/src/cli/",
        named: &[],
        never: &[
            "crate::controllers",
            "slipway_core::desired",
            "slipway_core::decide",
        ],
        why: "the command line is a client of the API, not a second operator",
    },
    Ban {
        files: "agents/src/launcher/",
        named: &[],
        never: &["ureq", "rustls", "crate::builder"],
        why: "it is in every App's image: small, and it uses no network",
    },
    Ban {
        files: "agents/src/prober/",
        named: &[],
        never: &["crate::builder"],
        why: "it is in every pod",
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
    let sources = sources(&root().join("controller")).expect("the source can be read");
    let found: Vec<String> = BANS
        .iter()
        .flat_map(|ban| sources.iter().flat_map(move |s| breaches(ban, s)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_rule_is_about_files_that_are_gone() {
    let sources = sources(&root().join("controller")).expect("the source can be read");
    let idle: Vec<&str> = BANS
        .iter()
        .filter(|ban| !sources.iter().any(|source| applies(ban, source)))
        .map(|ban| ban.files)
        .collect();
    assert!(idle.is_empty(), "no file begins with {idle:?}");
}
