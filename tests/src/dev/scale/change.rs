//! One change among many Apps: how long until it serves.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    dev::scale::{kinds::apps_in, objects::Crowd},
    wait,
};

pub(super) const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_mins(5);

/// The median of some changes, one after another, each to another App. In seconds.
pub(super) async fn some(cluster: &Cluster, crowd: &Crowd) -> Result<f64> {
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let n = round * crowd.count / ROUNDS;
        let Some(namespace) = crowd.namespace(n) else {
            continue;
        };
        let api = apps_in(cluster, namespace);
        seconds.push(one(&api, &Crowd::app_name(n)).await?);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN))
}

async fn one(api: &Api<DynamicObject>, name: &str) -> Result<f64> {
    let before = api.get(name).await?;
    let release = release(&before).cloned();
    let change = json!({"spec": {"env": [{"name": "CHANGED", "value": "yes"}]}});
    let begin = Instant::now();
    api.patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await?;
    wait::until(api, name, LIMIT, "serving its next release", |app| {
        serves(app) && self::release(app) != release.as_ref()
    })
    .await?;
    Ok(begin.elapsed().as_secs_f64())
}

fn release(app: &DynamicObject) -> Option<&Value> {
    app.data.pointer("/status/serving/release")
}

fn serves(app: &DynamicObject) -> bool {
    let current = app
        .data
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64)
        == app.metadata.generation;
    current && app.data.get("status").is_some_and(super::watch::ready)
}
