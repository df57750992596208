//! The API server's audit log → what the operator has written since a moment. An apply that changes nothing is a write,
//! too.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::cluster::{Cluster, NAMESPACE, OPERATOR};

/// A moment in the audit log.
pub struct Mark {
    path: String,
    offset: u64,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// `apps/status`.
    pub resource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// HTTP status of the answer. A refused request did not change the object.
    pub code: u16,
}

/// A line of the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) stage: String,
    pub(crate) verb: String,
    pub(crate) user: User,
    object_ref: Option<Object>,
    #[serde(default)]
    pub(crate) response_status: Answer,
}

impl Event {
    /// Such as `apps/status`; empty for a path that belongs to no resource.
    pub(crate) fn resource(&self) -> String {
        self.object_ref
            .as_ref()
            .map(Object::path)
            .unwrap_or_default()
    }
}

/// The answer.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    pub(crate) code: u16,
}

/// Who asked.
#[derive(Deserialize)]
pub(crate) struct User {
    pub(crate) username: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

impl Object {
    fn path(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

impl Mark {
    /// The current moment.
    pub fn now(cluster: &Cluster) -> Result<Self> {
        let path = cluster.facts.audit_log.clone();
        let offset = fs::metadata(&path)
            .with_context(|| format!("the audit log {path}"))?
            .len();
        Ok(Self { path, offset })
    }

    /// What the operator has written since then, without its leader election; with a namespace, only to objects in it.
    pub fn writes(&self, namespace: Option<&str>) -> Result<Vec<Write>> {
        let mut file = File::open(&self.path)?;
        ensure!(
            file.metadata()?.len() >= self.offset,
            "{} was begun anew since: what was written before cannot be told",
            self.path
        );
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(operators_writes(&text, namespace))
    }
}

fn operators_writes(text: &str, namespace: Option<&str>) -> Vec<Write> {
    let operator = format!("system:serviceaccount:{NAMESPACE}:{OPERATOR}");
    text.lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok())
        .filter(|event| event.stage == "ResponseComplete" && event.user.username == operator)
        .filter(|event| {
            ["create", "update", "patch", "delete", "deletecollection"]
                .contains(&event.verb.as_str())
        })
        .filter_map(|event| {
            let object = event.object_ref?;
            // Creating a review only asks a question; the Lease is renewed all the time.
            let counts = object.resource != "leases" && !object.resource.ends_with("reviews");
            let here = namespace.is_none_or(|n| n == object.namespace);
            (counts && here).then(|| Write {
                verb: event.verb,
                resource: object.path(),
                namespace: object.namespace,
                name: object.name,
                code: event.response_status.code,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::operators_writes;

    #[test]
    fn only_the_operators_writes_count() {
        let event = |user: &str, verb: &str, resource: &str| {
            serde_json::json!({
                "stage": "ResponseComplete", "verb": verb, "user": {"username": user},
                "objectRef": {"resource": resource, "namespace": "a", "name": "x"}
            })
            .to_string()
        };
        let me = "system:serviceaccount:slipway-system:slipway";
        let log = [
            event(me, "patch", "deployments"),
            event(me, "patch", "leases"),
            event(me, "create", "subjectaccessreviews"),
            event(me, "get", "secrets"),
            event("somebody", "patch", "deployments"),
            "half a li".to_owned(),
        ]
        .join("\n");
        let found = operators_writes(&log, Some("a"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(operators_writes(&log, Some("b")).is_empty());
    }
}
