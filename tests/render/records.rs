//! The admission policies: who may write records and statuses, tried with CEL as the API server evaluates it.

use kube::core::cel::{AdmissionRequest, GroupVersionResource, VapEvaluator, VapExpression};
use serde_json::{Value, json};

use crate::{INSTALL, objects};

const OPERATOR: &str = "system:serviceaccount:slipway-system:slipway";

fn policy(values: &[&str], name: &str) -> Value {
    let found = objects(values).into_iter().find(|object| {
        object["kind"] == "ValidatingAdmissionPolicy" && object["metadata"]["name"] == name
    });
    serde_json::to_value(found.expect("the policy")).expect("plain data")
}

/// What the policy says against a request; nothing where it lets it pass.
fn refused(policy: &Value, user: &str, old: Option<&Value>, new: &Value) -> Vec<String> {
    let kind = new["kind"].as_str().expect("a kind");
    let resource = GroupVersionResource {
        group: "slipway.dev".into(),
        version: "v1alpha1".into(),
        resource: format!("{}s", kind.to_lowercase()),
    };
    let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
    let evaluator = VapEvaluator::builder()
        .object(new.clone())
        .old_object(old.cloned().unwrap_or(Value::Null))
        .request(AdmissionRequest {
            operation: operation.into(),
            username: user.into(),
            resource,
            ..AdmissionRequest::default()
        })
        .build();
    let validations = policy["spec"]["validations"]
        .as_array()
        .expect("validations");
    let expressions: Vec<VapExpression> = validations
        .iter()
        .map(|validation| serde_json::from_value(validation.clone()).expect("an expression"))
        .collect();
    let results = evaluator.evaluate(&expressions).into_iter();
    results
        .filter(|result| !result.passed)
        .map(|result| result.message.unwrap_or_default())
        .collect()
}

fn record() -> Value {
    record_of("Build")
}

fn record_of(kind: &str) -> Value {
    json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": kind,
        "metadata": {
            "name": "hello-1", "namespace": "team", "labels": {
                "slipway.dev/app": "hello", "slipway.dev/app-uid": "1", "app.kubernetes.io/managed-by": "slipway",
            },
            "ownerReferences": [{
                "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "1", "controller": true,
            }],
        },
    })
}

#[test]
fn records_and_statuses_are_the_operators_to_write_and_of_those_that_are_listed() {
    let mut values = INSTALL.to_vec();
    values.push("records.alsoWrittenBy={system:serviceaccount:velero:velero}");
    let (records, status) = (
        policy(&values, "slipway-records"),
        policy(&values, "slipway-status"),
    );
    let kinds = ["Revision", "Build", "Release"].map(record_of);
    for (user, may) in [
        (OPERATOR, true),
        ("system:serviceaccount:velero:velero", true),
        ("system:serviceaccount:team:slipway", false),
        ("kubernetes-admin", false),
        ("system:kube-controller-manager", false),
        ("", false),
    ] {
        for made in &kinds {
            let create = refused(&records, user, None, made);
            assert_eq!(create.is_empty(), may, "{user}: {create:?}");
            let write = refused(&status, user, Some(made), made);
            assert_eq!(write.is_empty(), may, "{user}: {write:?}");
            for said in create.iter().chain(&write) {
                assert!(said.contains("by the operator alone"), "{said}");
            }
        }
    }
}

/// As if the template's list of one kind had one more entry.
#[test]
fn who_makes_records_of_one_kind_makes_none_of_another() {
    let receiver = "system:serviceaccount:slipway-system:slipway-receiver";
    let written = policy(INSTALL, "slipway-records").to_string();
    let list = |account: &str| format!(r#"\"revisions\":[\"{account}\"]"#);
    let more = format!(r#"{OPERATOR}\",\"{receiver}"#);
    assert!(written.contains(&list(OPERATOR)), "{written}");
    let written = written.replace(&list(OPERATOR), &list(&more));
    let policy = serde_json::from_str(&written).expect("a policy");
    for (kind, may) in [("Revision", true), ("Build", false), ("Release", false)] {
        let new = record_of(kind);
        let mut given = new.clone();
        given["metadata"]["labels"] = json!({});
        for (old, new) in [(None, &new), (Some(&new), &given)] {
            let said = refused(&policy, receiver, old, new);
            assert_eq!(said.is_empty(), may, "{kind}: {said:?}");
            assert!(refused(&policy, OPERATOR, old, new).is_empty());
        }
    }
}

#[test]
fn a_build_is_cancelled_by_an_annotation_and_given_to_nobody_else() {
    let policy = policy(INSTALL, "slipway-records");
    let old = record();
    let changed = |at: &str, value: Value| {
        let mut new = record();
        *new.pointer_mut(at).expect("a field") = value;
        new
    };
    let mut cancelled = record();
    cancelled["metadata"]["annotations"] = json!({"slipway.dev/cancel": "true"});
    cancelled["metadata"]["annotations"]["note"] = json!("seen");
    let orphaned = changed("/metadata/ownerReferences", json!([]));
    let mut bare = record();
    bare["metadata"] = json!({"name": "hello-1"});
    for (new, may) in [
        (&cancelled, true),
        (&orphaned, false),
        (
            &changed("/metadata/ownerReferences/0/uid", json!("2")),
            false,
        ),
        (&changed("/metadata/labels", json!({})), false),
        (
            &changed("/metadata/labels/slipway.dev~1app-uid", json!("2")),
            false,
        ),
        (&bare, false),
    ] {
        let said = refused(&policy, "somebody", Some(&old), new);
        assert_eq!(said.is_empty(), may, "{new}: {said:?}");
        assert!(refused(&policy, OPERATOR, Some(&old), new).is_empty());
    }
    // What has neither labels nor owners stays so.
    assert!(refused(&policy, "somebody", Some(&bare), &bare).is_empty());
    for collector in [
        "system:kube-controller-manager",
        "system:serviceaccount:kube-system:generic-garbage-collector",
    ] {
        assert!(refused(&policy, collector, Some(&old), &orphaned).is_empty());
    }
}

#[test]
fn every_record_and_every_status_is_under_a_policy_that_denies() {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (name, resources) in [
        ("slipway-records", &["revisions", "builds", "releases"][..]),
        (
            "slipway-status",
            &[
                "apps/status",
                "revisions/status",
                "builds/status",
                "releases/status",
            ],
        ),
    ] {
        let policy = policy(INSTALL, name);
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let rule = &policy["spec"]["matchConstraints"]["resourceRules"][0];
        assert_eq!(
            rule["operations"],
            json!(["CREATE", "UPDATE"]),
            "deleting is left to roles"
        );
        let found: Vec<String> = rule["resources"]
            .as_array()
            .expect("a list")
            .iter()
            .map(text)
            .collect();
        assert_eq!(found, resources);
        let bound = objects(INSTALL).into_iter().any(|object| {
            object["kind"] == "ValidatingAdmissionPolicyBinding"
                && object["spec"]["policyName"] == name
                && object["spec"]["validationActions"][0] == "Deny"
        });
        assert!(bound, "{name}");
    }
}

#[test]
fn the_policies_can_be_left_out() {
    let mut values = INSTALL.to_vec();
    values.push("records.protect=false");
    for object in objects(&values) {
        let kind = object["kind"].as_str().unwrap_or_default();
        assert!(!kind.starts_with("ValidatingAdmission"), "{kind}");
    }
}
