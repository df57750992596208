//! What a cache holds after events in various orders, and whom it tells.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Resource as _, ResourceExt as _, core::DeserializeGuard};
use serde_json::{Value, json};

use crate::{
    FieldManager,
    cache::{Cache, Change, Codec, Key, Rules, WHOLE, reference},
};
use slipway_support::fake_api::Fake;

fn cache() -> Cache<ConfigMap> {
    let rules: Rules<ConfigMap> = Rules {
        selector: None,
        app: |meta, _| meta.labels.as_ref()?.get("app").cloned(),
        trim: |map| map.metadata.managed_fields = None,
        is_brief: |_| false,
        brief: |map| map.data = None,
        judge: Some(FieldManager::Release),
        refers: |map| {
            map.data
                .iter()
                .flatten()
                .map(|(kind, name)| reference(kind, name))
                .collect()
        },
    };
    Cache::new(rules, &Codec::default())
}

fn map(version: u32, more: &Value) -> ConfigMap {
    let mut object = json!({"metadata": {"name": "one", "namespace": "n", "uid": "1", "labels": {"app": "hello"},
        "generation": 1, "resourceVersion": version.to_string()}});
    merge(&mut object, more);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// An event for the cache.
enum Comes {
    /// The watch shows it.
    Seen(ConfigMap),
    /// The watch shows that it is gone.
    Gone(ConfigMap),
    /// The answer to a write of ours.
    Written(ConfigMap),
    /// The answer to our deletion.
    Deleted(ConfigMap),
}
use Comes::{Deleted, Gone, Seen, Written};

fn comes(cache: &Cache<ConfigMap>, what: Comes) {
    match what {
        Seen(map) => cache.saw(DeserializeGuard(Ok(map)), None),
        Gone(map) => cache.gone(map.meta(), None),
        Written(map) => cache.put(&map, FieldManager::Release),
        Deleted(map) => cache.remove(&map, FieldManager::Release),
    }
}

fn version(cache: &Cache<ConfigMap>) -> Option<String> {
    let kept = cache.get("n", "one")?;
    kept.object.resource_version()
}

#[test]
fn an_older_word_never_takes_the_place_of_a_newer_one() {
    let at = |version| map(version, &json!({}));
    let again = |version| map(version, &json!({"metadata": {"uid": "2"}}));
    let unlabelled = |version| map(version, &json!({"metadata": {"labels": null}}));
    for (number, (steps, wanted)) in [
        (vec![Seen(at(1)), Written(at(3)), Seen(at(2))], Some("3")),
        (vec![Written(at(3)), Seen(at(3)), Seen(at(4))], Some("4")),
        // The answer to a write arrives after its object is gone.
        (vec![Seen(at(1)), Gone(at(3)), Written(at(2))], None),
        (vec![Seen(at(1)), Deleted(at(1)), Seen(at(1))], None),
        // A newer object of the same name.
        (vec![Seen(at(1)), Gone(at(3)), Written(again(4))], Some("4")),
        (vec![Written(again(4)), Gone(at(3))], Some("4")),
        // The object lost our label and got it again.
        (vec![Seen(at(1)), Gone(at(2)), Seen(at(3))], Some("3")),
        (vec![Seen(at(1)), Written(at(3)), Gone(at(2))], Some("3")),
        (vec![Seen(at(1)), Seen(unlabelled(2))], None),
    ]
    .into_iter()
    .enumerate()
    {
        let cache = cache();
        for step in steps {
            comes(&cache, step);
        }
        assert_eq!(version(&cache).as_deref(), wanted, "{number}");
        let of_app = cache.of_app("n", "hello");
        assert_eq!(of_app.len(), usize::from(wanted.is_some()), "{number}");
    }
}

/// An object of this generation. `written` lists who wrote its status, and in which minute.
fn told(version: u32, generation: i64, written: &[(&str, &str)]) -> ConfigMap {
    let entries: Vec<_> = written
        .iter()
        .map(|(manager, at)| {
            json!({"manager": manager, "operation": "Apply", "subresource": "status", "apiVersion": "v1",
                "time": format!("2026-01-01T00:{at}:00Z"), "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {}}})
        })
        .collect();
    let metadata = json!({"generation": generation, "managedFields": entries});
    map(version, &json!({"metadata": metadata}))
}

#[test]
fn who_writes_is_not_told_and_others_are_as_far_as_they_want_to_be() {
    let ours = [("slipway/release", "04"), ("kubectl", "03")];
    let cache = cache();
    let mut writer = cache
        .changes(FieldManager::Release, Change::by_others)
        .boxed();
    let mut other = cache.changes(FieldManager::App, Change::any).boxed();
    let mut asked = cache.changes(FieldManager::App, Change::asked).boxed();
    let steps = [
        (Seen(told(1, 1, &[])), [1, 1, 1]),
        (Written(told(2, 1, &ours[..1])), [0, 1, 0]),
        // The watch shows what is already known.
        (Seen(told(2, 1, &ours[..1])), [0, 0, 0]),
        // The watch shows our write before its answer.
        (Seen(told(3, 1, &[("slipway/release", "05")])), [0, 1, 0]),
        (Seen(told(4, 1, &ours)), [1, 1, 0]),
        (Seen(told(5, 1, &[("kubectl", "05")])), [1, 1, 0]),
        (Seen(told(6, 2, &[("kubectl", "05")])), [1, 1, 1]),
        (Written(told(7, 3, &[("kubectl", "05")])), [0, 1, 1]),
        (Gone(told(8, 3, &[])), [1, 1, 1]),
        (Seen(told(9, 3, &[])), [1, 1, 1]),
        (Deleted(told(9, 3, &[])), [0, 1, 1]),
    ];
    for (number, (step, wanted)) in steps.into_iter().enumerate() {
        comes(&cache, step);
        let told = [&mut writer, &mut other, &mut asked].map(|stream| {
            let news = std::iter::from_fn(|| stream.next().now_or_never().flatten());
            news.filter(|(namespace, app)| (&**namespace, &**app) == ("n", "hello"))
                .count()
        });
        assert_eq!(told, wanted, "step {number}");
    }
}

#[test]
fn an_object_that_becomes_another_apps_concerns_both() {
    let cache = cache();
    comes(&cache, Seen(map(1, &json!({}))));
    let mut news = cache.changes(FieldManager::App, Change::asked).boxed();
    let moved = json!({"metadata": {"labels": {"app": "other"}}});
    comes(&cache, Seen(map(2, &moved)));
    let told: Vec<_> = std::iter::from_fn(|| news.next().now_or_never().flatten())
        .map(|(_, app)| app.to_string())
        .collect();
    assert_eq!(told, ["hello", "other"]);
    assert!(cache.of_app("n", "hello").is_empty());
    assert_eq!(cache.of_app("n", "other").len(), 1);
}

const PATH: &str = "/api/v1/namespaces/n/configmaps";

fn put(fake: &Fake, name: &str, data: &Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "hello"}}});
    fake.put(&format!("{PATH}/{name}"), object);
}

#[tokio::test]
async fn a_list_takes_out_what_it_has_not_unless_that_is_newer() {
    let fake = Fake::default();
    let cache = cache();
    let api: Api<ConfigMap> = Api::all(fake.client());
    for name in ["one", "two"] {
        put(&fake, name, &json!({"x": "y"}));
    }
    put(&fake, "big", &json!({"x": "y".repeat(WHOLE)}));
    put(&fake, "odd", &json!(5));
    cache.list(&api, None).await.unwrap();
    let kept = |name| cache.get("n", name);
    assert!(kept("one").unwrap().whole);
    let big = kept("big").unwrap();
    assert!(!big.whole && big.object.0.unwrap().data.is_none());
    let odd = kept("odd").unwrap().object.0.unwrap_err();
    assert_eq!(odd.metadata.uid.as_deref(), Some("odd"));

    for name in ["one", "big"] {
        fake.remove(&format!("{PATH}/{name}"));
    }
    let made = json!({"metadata": {"name": "made", "uid": "made"}});
    comes(&cache, Written(map(1000, &made)));
    let mut news = cache.changes(FieldManager::App, Change::any).boxed();
    cache.list(&api, None).await.unwrap();
    let names: Vec<_> = cache
        .objects("n", "hello")
        .iter()
        .map(ConfigMap::name_any)
        .collect();
    assert_eq!(names, ["made", "two"]);
    assert!(news.next().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn it_is_full_when_it_has_all_and_follows_then() {
    let fake = Fake::default();
    put(&fake, "one", &json!({}));
    let cache = cache();
    let steps = async {
        cache.is_full().await;
        assert!(cache.get("n", "one").is_some());
        let mut news = cache.changes(FieldManager::App, Change::any).boxed();
        // The paused clock moves on only when no task can run.
        tokio::time::sleep(Duration::from_millis(50)).await;
        put(&fake, "two", &json!({}));
        news.next().await.unwrap();
        assert!(cache.get("n", "two").is_some());
        fake.remove(&format!("{PATH}/one"));
        news.next().await.unwrap();
        assert!(cache.get("n", "one").is_none());
    };
    assert!(cache.is_full().now_or_never().is_none());
    tokio::select! {
        () = cache.fill(Api::all(fake.client()), None) => {}
        () = steps => {}
    }
}

#[test]
fn a_change_names_the_app_or_the_object() {
    let cache = cache();
    let mut apps = cache.changes(FieldManager::App, Change::any).boxed();
    let mut objects = cache.changed(FieldManager::App, Change::any).boxed();
    for step in [Seen(map(1, &json!({}))), Gone(map(2, &json!({})))] {
        comes(&cache, step);
        let told = |stream: &mut BoxStream<'_, Key>| stream.next().now_or_never().flatten();
        assert_eq!(told(&mut apps), Some(("n".into(), "hello".into())));
        assert_eq!(told(&mut objects), Some(("n".into(), "one".into())));
    }
}

#[test]
fn what_refers_to_an_object_is_found_by_it() {
    let cache = cache();
    let named = |name: &str, data: &Value| {
        map(
            1,
            &json!({"metadata": {"name": name, "uid": name, "labels": {"app": name}}, "data": data}),
        )
    };
    comes(
        &cache,
        Seen(named("one", &json!({"Secret": "a", "Stack": "s"}))),
    );
    comes(
        &cache,
        Seen(named("two", &json!({"Secret": "b", "Stack": "s"}))),
    );
    let found = |namespace, kind, name| -> Vec<String> {
        let found = cache.referring(namespace, &reference(kind, name));
        found.into_iter().map(|(_, app)| app.to_string()).collect()
    };
    assert_eq!(found(Some("n"), "Secret", "a"), ["one"]);
    assert_eq!(found(None, "Stack", "s"), ["one", "two"]);
    assert_eq!(found(Some("other"), "Stack", "s"), [""; 0]);
    assert_eq!(found(Some("n"), "ConfigMap", "a"), [""; 0]);
}

#[test]
fn who_looks_sees_what_is_kept_and_what_is_gone() {
    let cache = cache();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looked = Arc::clone(&seen);
    cache.watched_by(move |meta, map: Option<&ConfigMap>| {
        let version = map.and_then(|map| map.metadata.resource_version.clone());
        looked
            .lock()
            .unwrap()
            .push((meta.name.clone().unwrap(), version.unwrap_or_default()));
    });
    for step in [
        Seen(map(2, &json!({}))),
        Seen(map(2, &json!({}))),
        Seen(map(1, &json!({}))),
        Gone(map(3, &json!({}))),
    ] {
        comes(&cache, step);
    }
    let one = |version: &str| ("one".to_owned(), version.to_owned());
    assert_eq!(*seen.lock().unwrap(), [one("2"), one("")]);
}
