//! Records as the operator makes them, and forged ones.

use crate::domain::repository::Repositories;
use crate::records::{Owner, Record, Sorted};
use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{Build, Release, Revision};

fn digest() -> String {
    format!("sha256:{}", "a".repeat(64))
}

/// A record as the operator makes it.
fn made(kind: &str) -> Value {
    let artifact = |repository: &str| json!({"repository": repository, "digest": digest()});
    let own = artifact("slipway/team/hello");
    let app = json!({"name": "hello", "uid": "u-1"});
    let stack = artifact("slipway/slipway.dev/stacks/standard/run");
    let git = json!({"url": "https://example.com/hello.git", "commit": "a".repeat(40)});
    let (name, spec, status) = match kind {
        "Revision" => (
            "hello-r1",
            json!({"app": app, "number": 1, "by": "Poll", "git": git}),
            json!({"artifact": own}),
        ),
        "Build" => (
            "hello-2",
            json!({"app": app, "revision": "hello-1", "cause": "x", "timeout": "30m", "source": {"git": git},
                "stack": {"name": "s", "stackName": "s", "userId": 1, "buildImage": stack, "runImage": stack}}),
            json!({"phase": "Succeeded", "image": own, "source": own, "log": own}),
        ),
        _ => (
            "hello-v3",
            json!({"app": app, "number": 3, "cause": "x", "inputs": "x", "renderer": 1, "revision": "hello-1",
                "revisionId": "a", "configSecret": "hello-config-0123456789", "port": 5000, "processes": {},
                "image": {"reference": format!("slipway/team/hello@{}", digest())},
                "deadlines": {}, "podSecurity": "Restricted"}),
            json!({"phase": "Serving"}),
        ),
    };
    json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": kind, "spec": spec, "status": status,
        "metadata": {"name": name, "namespace": "team", "uid": "r-1", "ownerReferences": [{
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "u-1",
            "controller": true, "blockOwnerDeletion": true,
        }]},
    })
}

fn sorted<K: Record + DeserializeOwned>(object: &Value) -> Sorted<K> {
    let repositories = Repositories::new("slipway", ["registry.local:5000"]);
    let owner = Owner {
        namespace: "team",
        name: "hello",
        uid: "u-1",
        repositories: &repositories,
    };
    let found: DeserializeGuard<K> = serde_json::from_value(object.clone()).unwrap();
    owner.sort([found])
}

/// How many count, and what is reported about the rest.
fn told(object: &Value) -> (usize, String) {
    fn of<K>(sorted: Sorted<K>) -> (usize, String) {
        let told = sorted.strange.into_iter().chain(sorted.unreadable);
        (sorted.records.len(), told.collect())
    }
    match object["kind"].as_str().unwrap() {
        "Revision" => of(sorted::<Revision>(object)),
        "Build" => of(sorted::<Build>(object)),
        _ => of(sorted::<Release>(object)),
    }
}

const KINDS: [&str; 3] = ["Revision", "Build", "Release"];

#[test]
fn what_the_operator_made_counts() {
    for kind in KINDS {
        assert_eq!(told(&made(kind)), (1, String::new()), "{kind}");
    }
    // Without a status, and with an image of another registry.
    let mut build = made("Build");
    build["status"] = Value::Null;
    assert_eq!(told(&build).0, 1);
    for image in [
        "ghcr.io/other/app",
        "registry.local:5000/slipway/team/other",
        "registry.local:5000/elsewhere/app",
    ] {
        let image = format!("{image}@{}", digest());
        let mut release = made("Release");
        release["spec"]["image"] = json!({"reference": image, "external": true});
        assert_eq!(told(&release), (1, String::new()), "{image}");
        let mut revision = made("Revision");
        revision["spec"]["git"] = Value::Null;
        revision["spec"]["image"] = json!({"reference": "x", "resolved": image});
        assert_eq!(told(&revision), (1, String::new()), "{image}");
    }
}

#[test]
fn a_record_counts_only_if_the_app_of_that_name_and_uid_controls_it() {
    for kind in KINDS {
        let owner = |change: Value| {
            let mut object = made(kind);
            let owners = &mut object["metadata"]["ownerReferences"];
            for (key, value) in change.as_object().unwrap() {
                owners[0][key.as_str()] = value.clone();
            }
            object
        };
        let mut no_owner = made(kind);
        no_owner["metadata"]["ownerReferences"] = json!([]);
        let mut another = owner(json!({"name": "other", "uid": "u-2"}));
        another["spec"]["app"] = json!({"name": "other", "uid": "u-2"});
        let mut elsewhere = made(kind);
        elsewhere["metadata"]["namespace"] = json!("other");
        for (forged, wanted) in [
            (no_owner, "no App controls it"),
            (owner(json!({"controller": false})), "no App controls it"),
            (owner(json!({"kind": "Deployment"})), "no App controls it"),
            (
                owner(json!({"apiVersion": "example.com/v1"})),
                "no App controls it",
            ),
            (
                owner(json!({"uid": "u-2"})),
                "App hello controls it, but it is about App hello",
            ),
            (
                owner(json!({"name": "other"})),
                "App other controls it, but it is about App hello",
            ),
            (another, "it belongs to another App"),
            (elsewhere, "it belongs to another App"),
        ] {
            let (count, said) = told(&forged);
            assert_eq!(count, 0, "{forged}");
            assert!(said.contains(wanted), "{kind}: {said}");
            assert!(said.starts_with(&format!("{kind} hello-")), "{said}");
        }
    }
}

#[test]
fn a_record_that_names_what_is_anothers_does_not_count() {
    let artifact = |repository: &str| json!({"repository": repository, "digest": digest()});
    let image = |name: &str| json!(format!("{name}@{}", digest()));
    let push = |repository: &str| json!({"commit": "a".repeat(40), "ref": "main", "artifact": artifact(repository)});
    for (kind, at, value, wanted) in [
        (
            "Revision",
            "/status/artifact",
            artifact("slipway/other/hello"),
            "status.artifact",
        ),
        (
            "Build",
            "/status/image",
            artifact("slipway/other/hello"),
            "status.image",
        ),
        (
            "Build",
            "/status/source",
            artifact("slipway/team/other"),
            "status.source",
        ),
        (
            "Build",
            "/status/log",
            artifact("slipway/slipway.dev/packs/x"),
            "status.log",
        ),
        (
            "Release",
            "/spec/image/reference",
            image("slipway/other/hello"),
            "slipway/team/hello",
        ),
        (
            "Release",
            "/spec/image/reference",
            image("ghcr.io/x/y"),
            "spec.image",
        ),
        (
            "Release",
            "/spec/configSecret",
            json!("db-password"),
            "spec.configSecret",
        ),
        ("Release", "/metadata/name", json!("hello-v4"), "name"),
        ("Revision", "/spec/number", json!(4), "name"),
        (
            "Revision",
            "/spec/push",
            push("slipway/other/hello"),
            "spec.push.artifact",
        ),
        (
            "Build",
            "/spec/source",
            json!({"push": push("slipway/team/other")}),
            "spec.source.push.artifact",
        ),
    ] {
        let mut forged = made(kind);
        if at == "/spec/push" {
            forged["spec"]["push"] = Value::Null;
        }
        *forged.pointer_mut(at).unwrap() = value;
        let (count, said) = told(&forged);
        assert_eq!(count, 0, "{at}");
        assert!(said.contains(wanted), "{at}: {said}");
    }
    let foreign = format!("Registry.local:5000/slipway/other/hello@{}", digest());
    let mut release = made("Release");
    release["spec"]["image"] = json!({"reference": foreign, "external": true});
    let mut revision = made("Revision");
    revision["spec"]["git"] = Value::Null;
    revision["spec"]["image"] = json!({"reference": "x", "resolved": foreign});
    for forged in [release, revision] {
        let (count, said) = told(&forged);
        assert_eq!(count, 0);
        assert!(said.contains("another namespace"), "{said}");
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_no_apps() {
    let mut build = made("Build");
    let name = "../other/app";
    build["metadata"]["ownerReferences"][0]["name"] = json!(name);
    build["spec"]["app"]["name"] = json!(name);
    build["status"]["image"]["repository"] = json!("slipway/team/../other/app");
    assert_eq!(told(&build).0, 0);
}

#[test]
fn what_cannot_be_read_is_told_by_name_and_hides_nothing() {
    for (kind, at) in [
        ("Build", "/status/phase"),
        ("Release", "/status/phase"),
        ("Revision", "/spec/by"),
    ] {
        let mut object = made(kind);
        *object.pointer_mut(at).unwrap() = json!("Hibernated");
        let (count, said) = told(&object);
        assert_eq!(count, 0);
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(
            said.starts_with(&format!(
                "{kind} {name} cannot be read by this operator: Unknown variant Hibernated"
            )),
            "{said}"
        );
        assert!(said.contains("newer version"), "{said}");
        // A record of somebody else says nothing about this App.
        object["metadata"]["ownerReferences"] = json!([]);
        assert!(told(&object).1.contains("no App controls it"));
    }
}

#[test]
fn a_strangers_text_is_told_short_and_in_one_line() {
    let mut build = made("Build");
    build["status"]["image"]["repository"] = json!(format!("x\u{1b}[2J\n{}", "y".repeat(900)));
    let (_, said) = told(&build);
    assert!(
        said.len() < 500 && !said.contains(['\n', '\u{1b}']),
        "{said}"
    );
}
