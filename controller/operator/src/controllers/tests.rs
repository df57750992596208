//! The set-up of controllers against a scripted API server.

mod cost;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt as _, core::ObjectMeta};
use serde_json::{Value, json};
use slipway_crds::labels;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::controllers::{
    Wiring,
    caches::Caches,
    reconcile::{Outcome, Reconcile},
    run,
    watches::{Watches, keep_requests},
};
use slipway_base::error::{Class, Classify};

use slipway_k8s::{
    cache::{self, Cache, Codec, Rules, reference},
    events::Publisher,
};
use slipway_support::fake_api::Fake;
use slipway_telemetry::meters::Meters;

#[derive(Debug, thiserror::Error)]
#[error("asked to be {0:?}")]
struct Asked(Class);

impl Classify for Asked {
    fn class(&self) -> Class {
        self.0
    }
}

/// Does what each object's data says, and remembers which objects it saw.
struct Obedient {
    cache: Cache<ConfigMap>,
    seen: Mutex<Vec<String>>,
    news: Notify,
    go_on: Notify,
}

impl Obedient {
    fn new() -> Self {
        let rules = Rules {
            selector: None,
            app: |meta, _| meta.name.clone(),
            trim: |_: &mut ConfigMap| {},
            is_brief: |_| false,
            brief: |map| map.data = None,
            judge: None,
            refers: |map| {
                let data = map.data.iter().flatten();
                let named = data.filter(|(key, _)| *key == "refers");
                named.map(|(_, name)| reference("Secret", name)).collect()
            },
        };
        Self {
            cache: Cache::new(rules, &Codec::default()),
            seen: Mutex::default(),
            news: Notify::new(),
            go_on: Notify::new(),
        }
    }

    fn times(&self, name: &str) -> usize {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| *seen == name)
            .count()
    }

    async fn until(&self, name: &str, times: usize) {
        let enough = async {
            while self.times(name) < times {
                self.news.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), enough)
            .await
            .unwrap();
    }
}

impl Reconcile for Obedient {
    type Object = ConfigMap;
    type Error = Asked;
    const NAME: &'static str = "obedient";

    fn watches(&self, watches: Watches<ConfigMap>) -> Watches<ConfigMap> {
        watches.refers::<Secret>("a!=b")
    }

    fn cache(&self) -> &Cache<ConfigMap> {
        &self.cache
    }

    async fn reconcile(&self, object: Arc<ConfigMap>) -> Result<Outcome, Asked> {
        self.seen.lock().unwrap().push(object.name_any());
        self.news.notify_one();
        let wish = object
            .data
            .as_ref()
            .and_then(|data| data.get("do"))
            .map(String::as_str);
        match wish {
            Some("panic") => panic!("as asked"),
            Some("fail") => Err(Asked(Class::Transient)),
            Some("stall") => Err(Asked(Class::Stalled)),
            Some("work") => {
                self.go_on.notified().await;
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Done),
        }
    }
}

struct Story {
    fake: Fake,
    obedient: Arc<Obedient>,
    stop: CancellationToken,
    meters: Meters,
    wiring: Wiring,
    unsynced: watch::Receiver<Vec<String>>,
}

fn map(name: &str, data: &Value) -> (String, Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": name, "namespace": "n", "uid": name}});
    (format!("/api/v1/namespaces/n/configmaps/{name}"), object)
}

fn story(maps: &[(&str, Value)]) -> Story {
    let fake = Fake::default();
    for (name, data) in maps {
        let (path, object) = map(name, data);
        fake.put(&path, object);
    }
    let (client, stop, meters) = (fake.client(), CancellationToken::new(), Meters::new(""));
    let (sender, unsynced) = watch::channel(Vec::new());
    let clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
    Story {
        wiring: Wiring {
            events: Publisher::new(client.clone(), "test".to_owned(), clock),
            client,
            caches: Caches::default(),
            namespaces: Vec::new(),
            meters: meters.controllers.clone(),
            stop: stop.clone(),
            unsynced: sender,
        },
        fake,
        obedient: Arc::new(Obedient::new()),
        stop,
        meters,
        unsynced,
    }
}

impl Story {
    /// Runs the controller while `what` goes on, then stops it.
    async fn during(&self, what: impl Future<Output = ()>) {
        let controller = run(Arc::clone(&self.obedient), self.wiring.clone());
        let steps = async {
            what.await;
            self.stop.cancel();
        };
        self.with_caches(futures::future::join(controller, steps))
            .await;
    }

    /// Fills the caches until `what` has ended.
    async fn with_caches<T>(&self, what: impl Future<Output = T>) {
        let client = self.fake.client();
        let own = self.obedient.cache.fill(Api::all(client.clone()), None);
        let caches = futures::future::join(own, self.wiring.caches.fill(&client, &[]));
        let limit = tokio::time::timeout(Duration::from_secs(30), what);
        tokio::select! {
            _ = Box::pin(caches) => {}
            ended = Box::pin(limit) => drop(ended.unwrap()),
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.meters.registry).unwrap();
        text
    }
}

#[tokio::test]
async fn a_panic_and_a_failure_are_tried_again_and_stop_nobody_else() {
    let maps = [
        ("bad", json!({"do": "panic"})),
        ("poor", json!({"do": "fail"})),
        ("stuck", json!({"do": "stall"})),
        ("good", json!({})),
    ];
    let story = story(&maps);
    let obedient = &story.obedient;
    story
        .during(async {
            for name in ["bad", "poor"] {
                obedient.until(name, 2).await;
            }
            obedient.until("good", 1).await;
        })
        .await;
    assert_eq!((obedient.times("good"), obedient.times("stuck")), (1, 1));
    let text = story.metrics();
    for line in [
        "controller_runtime_reconcile_panics_total{controller=\"obedient\"} 2",
        "controller_runtime_terminal_reconcile_errors_total{controller=\"obedient\"} 1",
        "controller_runtime_reconcile_total{controller=\"obedient\",result=\"success\"} 1",
        "controller_runtime_active_workers{controller=\"obedient\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(story.fake.writes().is_empty(), "{:?}", story.fake.writes());
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_reported_once_and_stops_nobody() {
    let story = story(&[("bad", json!(5)), ("good", json!({}))]);
    let events = || story.fake.objects("/apis/events.k8s.io/");
    story
        .during(async {
            story.obedient.until("good", 1).await;
            let (path, object) = map("bad", &json!(6));
            story.fake.put(&path, object);
            let (path, object) = map("good", &json!({"x": "y"}));
            story.fake.put(&path, object);
            story.obedient.until("good", 2).await;
        })
        .await;
    assert_eq!(story.obedient.times("bad"), 0);
    let notes: Vec<_> = events().iter().map(|event| event["note"].clone()).collect();
    assert!(!notes.is_empty(), "no Event was written");
    assert!(
        notes
            .iter()
            .all(|note| note.as_str().unwrap().contains("cannot be read"))
    );
    assert_eq!(events()[0]["regarding"]["name"], "bad");
    assert!(story.metrics().contains("slipway_unparsable_objects_total"));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_an_object_refers_to_concerns_it_and_no_other() {
    let story = story(&[
        ("one", json!({"refers": "s"})),
        ("two", json!({"refers": "t"})),
    ]);
    story
        .during(async {
            story.obedient.until("one", 1).await;
            story.obedient.until("two", 1).await;
            // The clock stands still while anything is left to do: the Secrets are watched by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let secret = json!({"metadata": {"name": "s", "namespace": "n", "uid": "s"}});
            story.fake.put("/api/v1/namespaces/n/secrets/s", secret);
            story.obedient.until("one", 2).await;
        })
        .await;
    assert_eq!(story.obedient.times("two"), 1);
    assert!(story.unsynced.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_longest_is_next() {
    let busy: Vec<String> = (0..Obedient::CONCURRENCY)
        .map(|n| format!("busy-{n}"))
        .collect();
    let maps: Vec<_> = busy
        .iter()
        .map(|name| (name.as_str(), json!({"do": "work"})))
        .collect();
    let story = story(&maps);
    let waiting: Vec<String> = (0..30).map(|n| format!("waits-{n:02}")).collect();
    story
        .during(async {
            for name in &busy {
                story.obedient.until(name, 1).await;
            }
            for name in &waiting {
                let (path, object) = map(name, &json!({}));
                story.fake.put(&path, object);
                // The clock stands still while anything is left to do.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // An object that changes keeps its place in the queue, and is reconciled in its latest version.
            let (path, object) = map(&waiting[0], &json!({"do": "work"}));
            story.fake.put(&path, object);
            tokio::time::sleep(Duration::from_millis(50)).await;
            for name in &busy {
                story.obedient.go_on.notify_one();
                story.obedient.until(name, 1).await;
            }
            story.obedient.until(&waiting[29], 1).await;
            story.obedient.go_on.notify_waiters();
        })
        .await;
    let seen = story.obedient.seen.lock().unwrap().clone();
    let order: Vec<_> = seen
        .iter()
        .filter(|name| name.starts_with("waits"))
        .collect();
    assert_eq!(order[..30], waiting.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn of_an_object_that_is_kept_in_brief_the_whole_is_reconciled() {
    let story = story(&[("big", json!({"do": "stall", "x": "x".repeat(cache::WHOLE)}))]);
    story.during(story.obedient.until("big", 1)).await;
    let kept = story.obedient.cache.get("n", "big").unwrap();
    assert_eq!(kept.object.0.unwrap().data, None);
    let stalled = "controller_runtime_terminal_reconcile_errors_total{controller=\"obedient\"} 1";
    assert!(story.metrics().contains(stalled), "{}", story.metrics());
}

#[tokio::test]
async fn a_status_wakes_nobody_and_a_wish_does() {
    let story = story(&[("one", json!({})), ("two", json!({}))]);
    // The data stands for a status: it changes, but the generation does not.
    let put = |name: &str, data: Value, annotation: &str| {
        let (path, mut object) = map(name, &data);
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["annotations"] = json!({"a": annotation});
        story.fake.put(&path, object);
    };
    for name in ["one", "two"] {
        put(name, json!({}), "");
    }
    story
        .during(async {
            story.obedient.until("one", 1).await;
            story.obedient.until("two", 1).await;
            put("one", json!({"x": "y"}), "");
            put("two", json!({}), "look again");
            story.obedient.until("two", 2).await;
        })
        .await;
    assert_eq!(story.obedient.times("one"), 1);
}

#[tokio::test]
async fn a_stop_waits_for_what_runs() {
    let story = story(&[("slow", json!({"do": "work"}))]);
    let ended = CancellationToken::new();
    let controller = async {
        run(Arc::clone(&story.obedient), story.wiring.clone()).await;
        ended.cancel();
    };
    let steps = async {
        story.obedient.until("slow", 1).await;
        story.stop.cancel();
        let early = tokio::time::timeout(Duration::from_millis(200), ended.cancelled());
        assert!(early.await.is_err(), "it did not wait");
        story.obedient.go_on.notify_one();
    };
    story
        .with_caches(futures::future::join(controller, steps))
        .await;
}

#[tokio::test]
async fn a_stop_before_the_caches_are_filled_is_no_wait() {
    let story = story(&[("one", json!({}))]);
    story.fake.cut();
    let unsynced = &mut story.unsynced.clone();
    story
        .during(async {
            let filling = unsynced.wait_for(|names| !names.is_empty()).await;
            drop(filling.unwrap());
        })
        .await;
    assert_eq!(story.obedient.times("one"), 0);
}

/// A change of any annotation that is read of an App or Build has to be seen.
#[test]
fn what_is_asked_for_by_annotation_is_kept_of_an_object() {
    let asked = [
        labels::RECONCILE_REQUESTED_AT,
        labels::REBUILD_REQUESTED_AT,
        labels::RERENDER_REQUESTED_AT,
        labels::CANCEL,
    ];
    let others = ["kubectl.kubernetes.io/last-applied-configuration"];
    let mut meta = ObjectMeta {
        annotations: Some(
            asked
                .iter()
                .chain(&others)
                .map(|name| ((*name).to_owned(), "now".to_owned()))
                .collect(),
        ),
        ..ObjectMeta::default()
    };
    keep_requests(&mut meta);
    let kept: BTreeSet<_> = meta.annotations.unwrap().into_keys().collect();
    assert_eq!(kept, asked.map(str::to_owned).into());
}
