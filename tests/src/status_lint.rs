//! The rules that every status obeys at every moment (those of kstatus, and of Flux's linter of statuses). Pure.

use serde_json::{Value, json};
use slipway_crds::conditions::{Reason, types};

/// Whether a status is the default that the API server fills in before anybody writes one.
fn is_default(kind: &str, status: &Value) -> bool {
    *status
        == match kind {
            "App" => json!({"observedGeneration": -1}),
            _ => json!({"observedGeneration": -1, "phase": "Pending"}),
        }
}

/// Describes every breach of the rules by one object of a kind; empty if there is none.
pub fn lint(kind: &str, object: &Value) -> Vec<String> {
    if ["Revision", "Stack"].contains(&kind) {
        return of_the_finished(object);
    }
    let mut found = Vec::new();
    let generation = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    let observed = object
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    let conditions: Vec<&Value> = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    match observed {
        None => found.push("status has no observedGeneration".to_owned()),
        Some(-1) if is_default(kind, &object["status"]) => return found,
        Some(observed) if observed < 1 => {
            found.push(format!("observedGeneration is {observed}"));
        }
        Some(observed) if generation.is_some_and(|g| observed > g) => {
            found.push(format!(
                "observedGeneration {observed} is ahead of the object"
            ));
        }
        Some(_) => {}
    }
    let status = |kind: &str| {
        conditions
            .iter()
            .find(|c| text(c, "type") == kind)
            .map(|c| text(c, "status"))
    };
    if status(types::READY).is_none() {
        found.push("there is no Ready".to_owned());
    }
    if status(types::RECONCILING) == Some("True") && status(types::STALLED) == Some("True") {
        found.push("both Reconciling and Stalled".to_owned());
    }
    if status(types::STALLED) == Some("True") && status(types::READY) == Some("True") {
        found.push("both Stalled and Ready".to_owned());
    }
    if status(types::RECONCILING) == Some("True") && status(types::READY) == Some("True") {
        found.push("both Reconciling and Ready".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    for condition in &conditions {
        let kind = text(condition, "type");
        let about = |what: &str| format!("{kind}: {what}");
        if !seen.insert(kind) {
            found.push(about("is there twice"));
        }
        let status = text(condition, "status");
        if !["True", "False", "Unknown"].contains(&status) {
            found.push(about(&format!("status {status:?}")));
        }
        if [types::RECONCILING, types::STALLED].contains(&kind) && status != "True" {
            found.push(about("is abnormal-true: absent where it is not True"));
        }
        let reason = text(condition, "reason");
        if !Reason::ALL.iter().any(|r| r.as_str() == reason) {
            found.push(about(&format!("reason {reason:?} is not one of ours")));
        }
        if text(condition, "message").is_empty() {
            found.push(about("has no message"));
        }
        if text(condition, "lastTransitionTime").is_empty() {
            found.push(about("has no lastTransitionTime"));
        }
        match condition.get("observedGeneration").and_then(Value::as_i64) {
            None => found.push(about("has no observedGeneration")),
            Some(g) if observed.is_some_and(|o| g > o) => {
                found.push(about("observed a generation that the status did not"));
            }
            Some(g) if kind == types::READY && observed.is_some_and(|o| g != o) => {
                found.push(about("speaks of another generation than the status"));
            }
            Some(_) => {}
        }
    }
    found
}

/// The rules for kinds whose objects are finished when they are made. kstatus takes an object without these two fields
/// for current at once; with one of them, some controller would have to keep it up to date.
fn of_the_finished(object: &Value) -> Vec<String> {
    let status = &object["status"];
    ["observedGeneration", "conditions"]
        .into_iter()
        .filter(|field| status.get(field).is_some())
        .map(|field| format!("{field} is there, and nobody writes it"))
        .collect()
}

fn text<'a>(condition: &'a Value, field: &str) -> &'a str {
    condition.get(field).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::lint;
    use serde_json::{Value, json};

    fn condition(kind: &str, status: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "Progressing", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 2})
    }

    fn object(conditions: &[Value]) -> Value {
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": conditions}})
    }

    #[test]
    fn a_good_status_has_no_breach() {
        for good in [
            object(&[condition("Ready", "True")]),
            object(&[
                condition("Ready", "Unknown"),
                condition("Reconciling", "True"),
            ]),
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1}}),
        ] {
            assert_eq!(lint("App", &good), Vec::<String>::new());
        }
        let new = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1, "phase": "Pending"}});
        assert_eq!(lint("Release", &new), Vec::<String>::new());
    }

    #[test]
    fn a_revision_is_finished_from_the_first() {
        for (object, good) in [
            (json!({}), true),
            (json!({"status": {"artifact": {}}}), true),
            (json!({"status": {"observedGeneration": -1}}), false),
            (json!({"status": {"conditions": []}}), false),
        ] {
            assert_eq!(lint("Revision", &object).is_empty(), good, "{object}");
        }
    }

    #[test]
    fn each_rule_can_be_broken() {
        let with = |field: &str, value: Value| {
            let mut c = condition("Ready", "True");
            c[field] = value;
            object(&[c])
        };
        for bad in [
            json!({"metadata": {"generation": 1}}),
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": -1, "phase": "Pending"}}),
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 2, "conditions": [condition("Ready", "True")]}}),
            object(&[]),
            object(&[
                condition("Ready", "False"),
                condition("Reconciling", "True"),
                condition("Stalled", "True"),
            ]),
            object(&[condition("Ready", "True"), condition("Stalled", "True")]),
            object(&[condition("Ready", "True"), condition("Reconciling", "True")]),
            object(&[
                condition("Ready", "False"),
                condition("Reconciling", "False"),
            ]),
            object(&[condition("Ready", "True"), condition("Ready", "True")]),
            with("status", json!("true")),
            with("reason", json!("Whatever")),
            with("message", json!("")),
            with("lastTransitionTime", Value::Null),
            with("observedGeneration", json!(3)),
            with("observedGeneration", json!(1)),
            with("observedGeneration", Value::Null),
        ] {
            assert!(!lint("App", &bad).is_empty(), "{bad}");
        }
    }
}
