//! What is known of a source before and after look-ups.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;

use crate::{
    controllers::app::{
        lookup::{LookUps, Source, memory::SOON, source},
        observe::Observed,
        report::Step,
    },
    source::{Clients, git::Git},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use slipway_base::{
    outside::{Outside, policy::Policy},
    zone::input::GitLimits,
};
use slipway_core::{
    domain::app::{Defaults, ValidApp},
    settings::{Settings, file},
};
use slipway_crds::{
    conditions::Reason,
    v1alpha1::{App, Revision},
};
use slipway_remotes::{registry::Registry, web::Web};
use slipway_support::fake_api::Fake;

/// Nothing listens at this address.
const URL: &str = "http://127.0.0.1:1/hello.git";

struct World {
    app: Value,
    observed: Observed,
    look_ups: LookUps,
    now: Arc<Mutex<Timestamp>>,
}

fn limits() -> GitLimits {
    GitLimits {
        protocols: vec!["http".into()],
        max_bytes: 0,
        max_files: 0,
        timeout_seconds: 20,
    }
}

/// The chart's defaults.
const SETTINGS: &str = "
imageForNodes: n
imageForEngine: e
registry: {address: r}
engine: {address: 'unix:///e'}
";

pub(in crate::controllers) fn settings() -> Settings {
    Settings::new(file::read(SETTINGS).unwrap(), "", None, None)
}

/// Clients that connect to nothing outside this machine.
pub(in crate::controllers) fn clients() -> Clients {
    let here = Outside::new(Policy {
        allow: vec!["127.0.0.1".parse().unwrap()],
        ..Policy::default()
    });
    let web = Web::new(here, None, &BTreeMap::new()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    Clients {
        git: Git::new(&limits(), web.clone()),
        web,
        registry: Arc::new(Registry::new(&settings().registry.push).unwrap()),
    }
}

impl World {
    /// Just started, with this status.
    fn started(status: &Value) -> Self {
        let now = Arc::new(Mutex::new(Timestamp::from_second(1_000_000).unwrap()));
        let clock = Arc::clone(&now);
        Self {
            app: json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
                "metadata": {"name": "hello", "namespace": "team", "uid": "u-1", "generation": 3},
                "spec": {"source": {"git": {"url": URL, "interval": "10m"}}},
                "status": status,
            }),
            observed: Observed::default(),
            look_ups: LookUps::new(
                Fake::default().client(),
                Arc::new(settings()),
                clients(),
                Arc::new(move || *clock.lock().unwrap()),
            ),
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

    /// What a reconcile sees.
    fn source(&self) -> Source {
        let app: App = serde_json::from_value(self.app.clone()).unwrap();
        let defaults = Defaults {
            protocols: limits().protocols,
            ..Defaults::default()
        };
        let valid = ValidApp::new(&app, &defaults).unwrap();
        let now = *self.now.lock().unwrap();
        source(&self.look_ups, &app, &valid, &self.observed, now)
    }

    /// Makes the look-ups that were asked for, and returns how many there were.
    async fn look(&self) -> usize {
        let mut count = 0;
        while let Some(wanted) = self.look_ups.next() {
            self.look_ups.look(wanted).await;
            count += 1;
        }
        count
    }

    fn later(&self, hours: i64) {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_hours(hours)).unwrap();
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
        let found = world.source();
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
        let found = world.source();
        assert_eq!(commit(&found), Some("1"));
        assert_eq!(found.trouble, Some(wanted));
        assert!(found.next.unwrap() <= SOON, "{:?}", found.next);
        // The status was about another spec.
        world.app["metadata"]["generation"] = json!(4);
        assert_eq!(world.source().trouble, None);
    }
}

#[tokio::test]
async fn a_revision_that_no_status_tells_of_is_looked_into_soon() {
    let mut world = World::started(&status("True", "RevisionCreated", false, "r1"));
    world.revision("r1", 1, "1");
    world.revision("r2", 2, "2");
    let found = world.source();
    assert_eq!(commit(&found), Some("1"));
    assert!(found.next.unwrap() <= SOON, "{:?}", found.next);
}

#[tokio::test]
async fn a_request_is_handled_by_a_look_up_that_works_out() {
    let mut world = World::started(&status("True", "RevisionCreated", false, "r1"));
    world.revision("r1", 1, "1");
    world.app["metadata"]["annotations"] = json!({"slipway.dev/reconcile-requested-at": "now"});
    let mut ended = Box::pin(world.look_ups.ended());
    // No reconcile waits for the look-up, and its end causes the next reconcile.
    let found = world.source();
    assert_eq!(
        (commit(&found), &found.trouble, found.next),
        (Some("1"), &None, None)
    );
    assert_eq!(world.look().await, 1);
    let told = ended.next().await;
    assert_eq!(told, Some(("team".into(), "hello".into())));
    let found = world.source();
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
    assert!(found.next.unwrap() >= Duration::from_secs(5));
    assert_eq!(world.look().await, 0);
}

#[tokio::test]
async fn an_app_is_looked_up_once_however_often_it_is_looked_at() {
    let world = World::started(&Value::Null);
    for _ in 0..3 {
        let found = world.source();
        assert_eq!(
            (found.revision, found.trouble, found.next),
            (None, None, None)
        );
    }
    assert_eq!(world.look().await, 1);
}

#[tokio::test]
async fn a_secret_is_read_when_it_is_needed_and_missed_once() {
    let mut world = World::started(&Value::Null);
    world.app["spec"]["source"]["git"]["secretRef"] = json!({"name": "login"});
    world.source();
    assert_eq!(world.look().await, 1);
    let found = world.source();
    assert!(
        matches!(
            &found.trouble,
            Some(Step::Failed(Reason::ReferenceMissing, _))
        ),
        "{found:?}"
    );
    assert_eq!(world.look().await, 0);
}

#[tokio::test]
async fn an_app_that_nobody_asks_about_is_forgotten() {
    let mut world = World::started(&Value::Null);
    world.source();
    world.look().await;
    world.app["metadata"]["uid"] = json!("u-2");
    world.later(5);
    world.source();
    world.look().await;
    assert_eq!(world.look_ups.memory.lock().by_uid.len(), 2);
    world.later(5);
    world.source();
    world.look().await;
    assert_eq!(world.look_ups.memory.lock().by_uid.len(), 1);
}
