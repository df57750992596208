//! What people may do with our kinds, by the cluster's own roles, and what they may not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{INSTALL, golden, objects};

/// Resource → verbs.
type Rights = BTreeMap<String, BTreeSet<String>>;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
const RESOURCES: [&str; 14] = [
    "apps",
    "apps/status",
    "apps/scale",
    "apps/finalizers",
    "revisions",
    "revisions/status",
    "builds",
    "builds/status",
    "builds/finalizers",
    "builds/log",
    "releases",
    "releases/status",
    "stacks",
    "stacks/status",
];

fn add(rights: &mut Rights, role: &serde_yaml::Value) {
    let list = |value: &serde_yaml::Value| -> Vec<String> {
        let entries = value.as_sequence().into_iter().flatten();
        entries
            .map(|entry| entry.as_str().expect("text").to_owned())
            .collect()
    };
    for rule in role["rules"].as_sequence().expect("rules") {
        for group in list(&rule["apiGroups"]) {
            assert!(group.ends_with("slipway.dev"), "only our kinds: {group}");
        }
        assert!(rule["resourceNames"].is_null());
        for resource in list(&rule["resources"]) {
            let verbs = rights.entry(resource).or_default();
            verbs.extend(list(&rule["verbs"]));
        }
    }
}

/// What the cluster's own role has of our kinds once it took up what is labelled for it; `everybody` has what every
/// user has that is known to the API server.
fn rights(role: &str) -> Rights {
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    let mut rights = Rights::new();
    for object in objects(INSTALL) {
        let is_role = object["kind"] == "ClusterRole";
        let taken_up = object["metadata"]["labels"][label.as_str()] == "true";
        let everybodys = role == "everybody" && object["metadata"]["name"] == "slipway-everybody";
        if is_role && (taken_up || everybodys) {
            add(&mut rights, &object);
        }
    }
    rights
}

fn may(rights: &Rights, verb: &str, resource: &str) -> bool {
    rights
        .get(resource)
        .is_some_and(|verbs| verbs.contains(verb))
}

#[test]
fn what_each_role_may_do_is_what_the_table_says() {
    let mut table = String::from(
        "# What a role may do with our kinds, and nothing else. `make generate` writes it.\n",
    );
    for role in ["view", "edit", "admin", "everybody"] {
        for (resource, verbs) in rights(role) {
            let verbs: Vec<String> = verbs.into_iter().collect();
            writeln!(table, "{role:10} {resource:18} {}", verbs.join(" ")).expect("text");
        }
    }
    golden("tests/golden/roles.txt", &table);
}

/// Whatever the table above says: these are what the operator's rights may be borrowed with.
#[test]
fn nobody_but_the_operator_may_write_history_a_status_or_a_stack() {
    for role in ["view", "edit", "admin", "everybody"] {
        let rights = rights(role);
        let denied = |resources: &[&str], verbs: &[&str]| {
            for resource in resources {
                for verb in verbs {
                    let has = may(&rights, verb, resource);
                    assert!(!has, "{role} may {verb} {resource}");
                }
            }
        };
        let statuses = [
            "apps/status",
            "revisions/status",
            "builds/status",
            "releases/status",
            "stacks/status",
        ];
        denied(&statuses, &WRITE);
        denied(
            &[
                "stacks",
                "builds/log",
                "apps/finalizers",
                "builds/finalizers",
            ],
            &WRITE,
        );
        denied(
            &["revisions", "builds", "releases"],
            &["create", "deletecollection"],
        );
        denied(&["revisions", "releases"], &["update", "patch"]);
        denied(
            &RESOURCES,
            &["*", "escalate", "bind", "impersonate", "approve"],
        );
        denied(&["*", "*/*", "apps/*", "builds/*"], &READ);
        if ["view", "everybody"].contains(&role) {
            denied(&RESOURCES, &WRITE);
        }
        if role == "everybody" {
            let private: Vec<&str> = RESOURCES
                .into_iter()
                .filter(|r| !["stacks", "builds/log"].contains(r))
                .collect();
            denied(&private, &READ);
        }
        for resource in rights.keys() {
            assert!(RESOURCES.contains(&resource.as_str()), "{role}: {resource}");
        }
    }
}

#[test]
fn an_editor_can_do_a_days_work() {
    let rights = rights("edit");
    for (verb, resource) in [
        ("create", "apps"),
        ("patch", "apps"),
        ("delete", "apps"),
        ("patch", "apps/scale"),
        ("patch", "builds"),
        ("delete", "builds"),
        ("delete", "releases"),
        ("watch", "releases"),
    ] {
        assert!(may(&rights, verb, resource), "{verb} {resource}");
    }
    let of = |role: &str| super::roles::rights(role);
    assert_eq!(of("edit"), of("admin"));
}
