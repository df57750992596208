//! What is applied, and what is left alone, against an API server of the tests.

use crate::apply::{
    APPLIED, ApplyError, apply_if_changed, patch,
    status::{patch_status, without_times},
};
use slipway_base::error::{Class, Classify as _};

use crate::FieldManager;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{App, AppSpec, AppStatus};
use slipway_support::fake_api::Fake;

fn object(value: Value) -> ConfigMap {
    serde_json::from_value(value).unwrap()
}

fn applied(desired: &ConfigMap) -> ConfigMap {
    let mut live = patch(desired, None).unwrap().unwrap();
    live["metadata"]["uid"] = json!("u");
    object(live)
}

#[test]
fn what_was_applied_is_not_applied_again() {
    let desired = object(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}));
    let live = applied(&desired);
    assert!(
        live.metadata
            .annotations
            .as_ref()
            .unwrap()
            .contains_key(APPLIED)
    );
    assert_eq!(patch(&desired, Some(&live)).unwrap(), None);
}

#[test]
fn an_edit_by_hand_is_put_back_on_that_very_object() {
    let desired = object(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
    let mut live = applied(&desired);
    live.data.as_mut().unwrap().insert("x".into(), "9".into());
    let body = patch(&desired, Some(&live)).unwrap().unwrap();
    assert_eq!(
        (&body["data"]["x"], &body["metadata"]["uid"]),
        (&json!("1"), &json!("u"))
    );
}

#[test]
fn a_field_that_is_no_longer_wanted_is_noticed() {
    let before = object(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}));
    let after = object(json!({"metadata": {"name": "a"}, "data": {"x": "1"}}));
    assert!(patch(&after, Some(&applied(&before))).unwrap().is_some());
}

#[tokio::test]
async fn what_was_set_by_hand_is_taken_over_in_two_writes_and_left_alone_then() {
    let path = "/apis/apps/v1/namespaces/team/deployments/a";
    let fake = Fake::default();
    let api: Api<Deployment> = Api::namespaced(fake.client(), "team");
    let desired: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "a", "ownerReferences": [
                {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": "1", "controller": true},
            ]},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
        }))
        .unwrap();
    let mut live = patch(&desired, None).unwrap().unwrap();
    let entry = |manager: &str, operation: &str, spec: &Value| {
        json!({"manager": manager, "operation": operation,
            "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": spec}})
    };
    live["metadata"]["managedFields"] = json!([
        entry("slipway/release", "Apply", &json!({"f:replicas": {}})),
        entry("kubectl-rollout", "Update", &json!({"f:paused": {}})),
    ]);
    fake.put(path, live);
    for writes in [2, 0] {
        let live = api.get("a").await.unwrap();
        let before = fake.writes().len();
        let applied = apply_if_changed(&api, FieldManager::Release, &desired, Some(&live))
            .await
            .unwrap();
        assert_eq!(fake.writes().len() - before, writes);
        assert_eq!(applied.wrote, writes > 0);
        assert_eq!(
            serde_json::to_value(applied.object.managed_fields()).unwrap(),
            json!([entry(
                "slipway/release",
                "Apply",
                &json!({"f:replicas": {}, "f:paused": {}})
            )])
        );
        assert!(applied.object.annotations().contains_key(APPLIED));
    }
}

#[tokio::test]
async fn a_number_of_replicas_is_not_written_over_one_that_was_not_seen() {
    let path = "/apis/apps/v1/namespaces/team/deployments/a";
    let fake = Fake::default();
    let api: Api<Deployment> = Api::namespaced(fake.client(), "team");
    let deployment = |replicas: Option<i32>| -> Deployment {
        serde_json::from_value(json!({
                "metadata": {"name": "a", "ownerReferences": [
                    {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "a", "uid": "1", "controller": true},
                ]},
                "spec": {"replicas": replicas, "selector": {}, "template": {}},
            }))
            .unwrap()
    };
    let put = |replicas| fake.put(path, serde_json::to_value(deployment(replicas)).unwrap());
    for (desired, conflicts) in [(Some(2), true), (None, false)] {
        put(Some(1));
        let seen = api.get("a").await.unwrap();
        put(Some(5));
        let desired = deployment(desired);
        let applied = apply_if_changed(&api, FieldManager::Release, &desired, Some(&seen)).await;
        assert_eq!(applied.is_err(), conflicts, "{applied:?}");
        if let Err(error) = applied {
            assert!(matches!(error.class(), Class::Waiting { .. }), "{error}");
        }
        assert_eq!(fake.object(path).unwrap()["spec"]["replicas"], json!(5));
    }
}

#[tokio::test]
async fn a_late_status_does_not_land_on_another_object_of_the_same_name() {
    let path = "/apis/slipway.dev/v1alpha1/namespaces/team/apps/hello";
    let fake = Fake::default();
    let mut app = App::new("hello", AppSpec::default());
    app.metadata.namespace = Some("team".into());
    app.metadata.uid = Some("u-2".into());
    fake.put(path, serde_json::to_value(&app).unwrap());
    let api: Api<App> = Api::namespaced(fake.client(), "team");
    let status = AppStatus {
        url: Some("http://hello".into()),
        ..AppStatus::default()
    };
    let of = async |uid: &str| {
        let mut app = app.clone();
        app.metadata.uid = Some(uid.into());
        patch_status(&api, FieldManager::App, &app, &status, None).await
    };
    let error = of("u-1").await.unwrap_err();
    assert!(matches!(error, ApplyError::Api { .. }), "{error}");
    assert!(matches!(error.class(), Class::Waiting { .. }), "{error}");
    assert!(of("u-2").await.unwrap());
}

#[test]
fn times_alone_are_no_news() {
    let at = |time: &str, status: &str| {
        without_times(
            json!({"phase": "x", "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": time}]}),
        )
    };
    assert_eq!(at("1", "True"), at("2", "True"));
    assert_ne!(at("1", "True"), at("1", "False"));
}
