//! Lines of the API server's audit log → the requests of our ServiceAccounts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{audit::Event, cluster::NAMESPACE};

const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Number of requests of each kind, including Events. Watches and leader election are counted separately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Requests {
    /// `patch apps/status` → how often.
    pub(super) kinds: BTreeMap<String, u64>,
    /// How many of those were refused or failed; "not found" is neither.
    pub(super) refused: u64,
    pub(super) watches: u64,
    pub(super) leases: u64,
}

impl Requests {
    /// Reads a line. Returns whether it is a request that counts.
    pub(super) fn take(&mut self, line: &str) -> bool {
        let account = format!("system:serviceaccount:{NAMESPACE}:");
        // Most lines are about others: skip them without parsing.
        if !line.contains(&account) {
            return false;
        }
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            return false;
        };
        if event.stage != "ResponseComplete" || !event.user.username.starts_with(&account) {
            return false;
        }
        let code = event.response_status.code;
        let resource = event.resource();
        if event.verb == "watch" {
            self.watches += 1;
            return false;
        }
        if resource == "leases" {
            self.leases += 1;
            return false;
        }
        let kind = match resource.as_str() {
            "" => format!("{} (no resource)", event.verb),
            resource => format!("{} {resource}", event.verb),
        };
        *self.kinds.entry(kind).or_default() += 1;
        self.refused += u64::from(code >= 400 && code != 404);
        true
    }

    /// All requests, without watches and leader election.
    pub(super) fn total(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// The requests that write. Creating a review does not count, because it only asks a question.
    pub(super) fn writes(&self) -> u64 {
        let writes = |kind: &str| {
            let (verb, resource) = kind.split_once(' ').unwrap_or_default();
            WRITES.contains(&verb) && !resource.ends_with("reviews")
        };
        let counts = self.kinds.iter().filter(|(kind, _)| writes(kind));
        counts.map(|(_, count)| count).sum()
    }

    /// The difference from `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier = |kind: &str| before.kinds.get(kind).copied().unwrap_or(0);
        let kinds = self.kinds.iter();
        let kinds = kinds.map(|(kind, count)| (kind.clone(), count - earlier(kind)));
        Self {
            kinds: kinds.filter(|(_, count)| *count > 0).collect(),
            refused: self.refused - before.refused,
            watches: self.watches - before.watches,
            leases: self.leases - before.leases,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Requests;

    fn line(account: &str, verb: &str, resource: &str, subresource: &str, code: u16) -> String {
        json!({
            "stage": "ResponseComplete", "verb": verb, "responseStatus": {"code": code},
            "user": {"username": format!("system:serviceaccount:{account}")},
            "objectRef": {"resource": resource, "subresource": subresource, "namespace": "a"},
        })
        .to_string()
    }

    #[test]
    fn what_all_our_accounts_asked_is_counted_and_watches_and_leases_stand_apart() {
        let mut requests = Requests::default();
        let counted = [
            line("slipway-system:slipway", "patch", "apps", "status", 200),
            line("slipway-system:other", "patch", "apps", "status", 409),
            line("slipway-system:slipway", "get", "secrets", "", 200),
            line("slipway-system:slipway", "create", "events", "", 201),
            line("slipway-system:slipway", "create", "tokenreviews", "", 201),
        ];
        let apart = [
            line("slipway-system:slipway", "watch", "pods", "", 200),
            line("slipway-system:slipway", "update", "leases", "", 200),
            line(
                "kube-system:deployment-controller",
                "patch",
                "pods",
                "",
                200,
            ),
            "half a li".to_owned(),
        ];
        assert!(counted.iter().all(|line| requests.take(line)));
        assert!(!apart.iter().any(|line| requests.take(line)));
        assert_eq!(requests.kinds.get("patch apps/status"), Some(&2));
        let Requests {
            refused,
            watches,
            leases,
            ..
        } = requests;
        assert_eq!((refused, watches, leases), (1, 1, 1));
        assert_eq!((requests.total(), requests.writes()), (5, 3));
    }

    #[test]
    fn what_came_before_is_taken_away() {
        let mut before = Requests::default();
        before.take(&line("slipway-system:slipway", "get", "secrets", "", 200));
        let mut now = before.clone();
        now.take(&line("slipway-system:slipway", "get", "pods", "", 404));
        let since = now.since(&before);
        assert_eq!(since.kinds, [("get pods".to_owned(), 1)].into());
        assert_eq!((since.total(), since.refused), (1, 0));
    }
}
