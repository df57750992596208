//! What is known of a source before and after look-ups.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Revision},
};
use tokio::sync::Semaphore;

use crate::{
    controllers::app::{
        lookup::{Memory, SOON, Source, Tools, source},
        observe::Observed,
        report::Step,
    },
    domain::app::{Defaults, ValidApp},
    outside::{Outside, policy::Policy, web::Web},
    settings::RegistrySettings,
    source::git::Git,
    zone::input::{GitLimits, RegistryAccess},
};

/// Nobody listens there.
const URL: &str = "http://127.0.0.1:1/hello.git";

struct World {
    app: Value,
    observed: Observed,
    memory: Memory,
    room: Semaphore,
    now: Timestamp,
}

impl World {
    /// Just started, with this status.
    fn started(status: &Value) -> Self {
        let now = Timestamp::from_second(1_000_000).unwrap();
        Self {
            app: json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
                "metadata": {"name": "hello", "namespace": "team", "uid": "u-1", "generation": 3},
                "spec": {"source": {"git": {"url": URL, "interval": "10m"}}},
                "status": status,
            }),
            observed: Observed::default(),
            memory: Memory::new(now),
            room: Semaphore::new(1),
            now,
        }
    }

    fn revision(&mut self, name: &str, second: i64, commit: &str) {
        let revision = json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "Revision",
            "metadata": {"name": name, "creationTimestamp": Timestamp::from_second(second).unwrap()},
            "spec": {
                "app": {"name": "hello", "uid": "u-1"}, "by": "Poll",
                "git": {"url": URL, "ref": "HEAD", "commit": commit.repeat(40)},
            },
        });
        let revision: Revision = serde_json::from_value(revision).unwrap();
        self.observed.revisions.push(revision);
    }

    async fn source(&self) -> Source {
        let app: App = serde_json::from_value(self.app.clone()).unwrap();
        let limits = GitLimits {
            protocols: vec!["http".into()],
            max_bytes: 0,
            max_files: 0,
            timeout_seconds: 20,
        };
        let defaults = Defaults {
            protocols: limits.protocols.clone(),
            ..Defaults::default()
        };
        let valid = ValidApp::new(&app, &defaults).unwrap();
        let registry = RegistrySettings {
            push: RegistryAccess {
                address: String::new(),
                username: None,
                password: None,
                ca_pem: None,
                insecure: false,
            },
            engine_address: String::new(),
            pull_address: String::new(),
            prefix: String::new(),
            pull_secret: None,
        };
        let here = Outside::new(Policy {
            allow: vec!["127.0.0.1".parse().unwrap()],
            ..Policy::default()
        });
        let git = Git::new(&limits, Web::new(here, None, &BTreeMap::new()).unwrap());
        let tools = Tools {
            git: &git,
            registry: &registry,
            outside: &crate::outside::Outside::default(),
            memory: &self.memory,
            room: &self.room,
        };
        source(tools, &app, &valid, &self.observed, self.now).await
    }
}

fn status(source_ready: &str, reason: &str, stalled: bool, latest: &str) -> Value {
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": "as it was", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let mut conditions = vec![condition("SourceReady", source_ready)];
    conditions.extend(stalled.then(|| condition("Stalled", "True")));
    json!({"observedGeneration": 3, "conditions": conditions, "latest": {"revision": latest}})
}

fn commit(source: &Source) -> Option<&str> {
    let commit = &source.revision.as_ref()?.git.as_ref()?.commit;
    commit.get(..1)
}

#[tokio::test]
async fn what_is_certain_is_looked_up_some_time_in_the_interval() {
    let mut waits = Vec::new();
    for n in 0..20 {
        let mut world = World::started(&status("True", "RevisionCreated", false, "r1"));
        world.app["metadata"]["uid"] = json!(format!("u-{n}"));
        world.revision("r1", 1, "1");
        let found = world.source().await;
        assert_eq!((commit(&found), &found.trouble), (Some("1"), &None));
        waits.push(found.next.unwrap());
    }
    assert!(waits.iter().any(|wait| *wait > SOON), "{waits:?}");
}

#[tokio::test]
async fn a_restart_does_not_forget_a_look_up_that_failed() {
    for (reason, stalled, wanted) in [
        (
            "SourceUnavailable",
            false,
            Step::Retrying(Reason::SourceUnavailable, "as it was".into()),
        ),
        (
            "SourceNotFound",
            true,
            Step::Failed(Reason::SourceNotFound, "as it was".into()),
        ),
    ] {
        let mut world = World::started(&status("False", reason, stalled, "r1"));
        world.revision("r1", 1, "1");
        let found = world.source().await;
        assert_eq!(commit(&found), Some("1"));
        assert_eq!(found.trouble, Some(wanted));
        assert!(found.next.unwrap() <= SOON, "{:?}", found.next);
        // It was said of another spec.
        world.app["metadata"]["generation"] = json!(4);
        assert_eq!(world.source().await.trouble, None);
    }
}

#[tokio::test]
async fn a_revision_that_no_status_tells_of_is_looked_into_soon() {
    let mut world = World::started(&status("True", "RevisionCreated", false, "r1"));
    world.revision("r1", 1, "1");
    world.revision("r2", 2, "2");
    let found = world.source().await;
    assert_eq!(commit(&found), Some("1"));
    assert!(found.next.unwrap() <= SOON, "{:?}", found.next);
}

#[tokio::test]
async fn a_request_is_handled_by_a_look_up_that_works_out() {
    let mut world = World::started(&status("True", "RevisionCreated", false, "r1"));
    world.revision("r1", 1, "1");
    world.app["metadata"]["annotations"] = json!({"slipway.dev/reconcile-requested-at": "now"});
    let found = world.source().await;
    assert!(
        matches!(
            &found.trouble,
            Some(Step::Retrying(Reason::SourceUnavailable, _))
        ),
        "{found:?}"
    );
    assert_eq!(commit(&found), Some("1"));
    assert_eq!(found.handled, None);
    // It is not made again at once, but some seconds later.
    let before = found.next;
    let found = world.source().await;
    assert_eq!((found.next, found.handled), (before, None));
}

#[tokio::test]
async fn where_there_is_no_room_what_is_known_counts() {
    let mut world = World::started(&Value::Null);
    world.room = Semaphore::new(0);
    let found = world.source().await;
    assert_eq!((found.revision, found.trouble), (None, None));
    assert!(found.next.unwrap().as_secs() <= 2);
}

#[tokio::test]
async fn an_app_that_nobody_asks_about_is_forgotten() {
    let mut world = World::started(&Value::Null);
    world.source().await;
    world.app["metadata"]["uid"] = json!("u-2");
    let later = |hours| SignedDuration::from_hours(hours);
    world.now = world.now.checked_add(later(5)).unwrap();
    world.source().await;
    assert_eq!(world.memory.lock().len(), 2);
    world.now = world.now.checked_add(later(5)).unwrap();
    world.source().await;
    assert_eq!(world.memory.lock().len(), 1);
}
