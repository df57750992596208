//! A namespace that wants everything: all places of builds, more time and memory than anybody gets, and objects as large
//! as the API server takes.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, BuildPhase},
};
use slipway_tests::{
    app::{READY, SOON, build_phase, says},
    case::{self, Case},
    fixtures, wait,
};

use super::{Script, create, unharmed};
use slipway_tests::app::image_app;

/// How many Apps want to build at once.
const CROWD: usize = 12;

/// Has as many Apps as there are in a crowd built at once; returns when all want to, and one is at work.
pub(crate) async fn crowd(case: &Case, namespace: &str, compile: &str) -> Result<Api<Build>> {
    let script = Script::new(&format!("{}-crowd", case.namespace), compile)?;
    for number in 0..CROWD {
        create(case, namespace, &script.app(&format!("crowd-{number}"))).await?;
    }
    let builds: Api<Build> = Api::namespaced(case.cluster.client.clone(), namespace);
    wait::until_true(READY, "a Build of each of the crowd", || async {
        let all = builds.list(&ListParams::default()).await?.items;
        let at_work = all.iter().any(|b| span(b).is_some());
        Ok((all.len() == CROWD && at_work).then_some(()))
    })
    .await?;
    Ok(builds)
}

/// From when to when a Build had a place.
fn span(build: &Build) -> Option<(Timestamp, Option<Timestamp>)> {
    let status = build.status.as_ref()?;
    let over = status.finished_at.as_ref().map(|time| time.0);
    Some((status.started_at.as_ref()?.0, over))
}

#[test]
fn who_wants_to_build_most_leaves_the_next_place_to_others() {
    case::run("hostile-greedy", |case| async move {
        // Known to build now and then: as long as nobody is, the crowd may have all places.
        let modest = Script::new(&format!("{}-modest", case.namespace), "true\n")?;
        case.apply(&modest.app("modest")).await?;
        let first = case
            .build_until("modest", READY, "over", |b| build_phase(b).is_over())
            .await?;
        let other = case.other_namespace().await?;
        let crowd = crowd(&case, &other, "sleep 3\n").await?;
        case.build_again("modest").await?;
        let next = |b: &Build| b.name_any() != first.name_any() && span(b).is_some();
        let build = case.build_until("modest", READY, "begun", next).await?;
        let asked = build.metadata.creation_timestamp.clone();
        let asked = asked.context("it was made")?.0.as_second();
        let (began, _) = span(&build).context("it has begun")?;

        let all = crowd.list(&ListParams::default()).await?.items;
        let mut spans: Vec<_> = all.iter().filter_map(span).collect();
        spans.sort();
        // Times are of whole seconds.
        let before = spans
            .iter()
            .filter(|(start, _)| start.as_second() > asked + 1 && *start < began);
        ensure!(before.count() == 0, "asked at {asked}: {began}, {spans:?}");
        let waits = all.iter().filter(|b| build_phase(b) == BuildPhase::Pending);
        let waits = waits.count();
        ensure!(waits > CROWD / 2, "{waits} wait: the crowd was no crowd");
        // Of two places it has one.
        for pair in spans.windows(2) {
            let after = pair[0].1.is_some_and(|over| over <= pair[1].0);
            ensure!(after, "two of one namespace at once: {spans:?}");
        }
        let told = all.iter().any(|build| {
            let conditions = build.status.iter().flat_map(|s| &s.conditions);
            let mut messages = conditions.map(|c| c.message.as_str());
            messages.any(|m| m.contains("as many builds of this namespace run as may at once (1)"))
        });
        ensure!(told, "nobody is told what he waits for");
        unharmed(&case).await
    });
}

#[test]
fn what_is_asked_beyond_the_ceilings_is_cut_and_told() {
    case::run("hostile-ceilings", |case| async move {
        let script = Script::new(&case.namespace, "true\n")?;
        let app = script.app("much");
        let limits = |memory: &str| format!("{{limits: {{cpu: '900', memory: {memory}}}}}");
        let asking =
            |memory: &str| format!("{app}    timeout: 20h\n    resources: {}\n", limits(memory));
        case.apply(&asking("9Ti")).await?;
        let wanted = [
            "spec.build.timeout is 20h, and no build may take longer than 2h here",
            "spec.build.resources.limits.cpu is 900, and no build gets more than 8 here",
            "spec.build.resources.limits.memory is 9Ti, and no build gets more than 16Gi here",
        ];
        let told = |app: &App| {
            let notes = app.status.iter().flat_map(|s| &s.notes);
            let notes: Vec<&str> = notes.map(String::as_str).collect();
            wanted
                .iter()
                .all(|part| notes.iter().any(|note| note.contains(part)))
        };
        case.app_until("much", SOON, "told what is cut", told)
            .await?;
        // With what is left of it, it builds.
        let over = |b: &Build| build_phase(b).is_over();
        let build = case.build_until("much", READY, "over", over).await?;
        ensure!(
            build_phase(&build) == BuildPhase::Succeeded,
            "{:?}",
            build.status
        );
        case.apply(&asking("'0'")).await?;
        let refused = |app: &App| says(app, types::READY).contains("no build can run with 0");
        case.app_until("much", SOON, "told that 0 is nothing", refused)
            .await?;
        Ok(())
    });
}

/// So many bytes, in keys of what one variable may hold.
fn entries(bytes: usize) -> impl Iterator<Item = (String, String)> {
    const EACH: usize = 100_000;
    (0..bytes / EACH).map(|number| (format!("KEY_{number}"), "v".repeat(EACH)))
}

/// Apps with as much in them, or in what they refer to, as the API server takes. Their own words for it are checked.
pub(crate) async fn giants(case: &Case, namespace: &str) -> Result<()> {
    const MUCH: usize = 1_000_000;
    let client = &case.cluster.client;
    let metadata = ObjectMeta {
        name: Some("giant".to_owned()),
        ..ObjectMeta::default()
    };
    let bytes = entries(MUCH).map(|(key, value)| (key, ByteString(value.into_bytes())));
    let secret = Secret {
        metadata: metadata.clone(),
        data: Some(bytes.collect()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.create(&PostParams::default(), &secret).await?;
    let pull: Secret = serde_json::from_str(&fixtures::pull_secret(&case.cluster, "pull")?)?;
    secrets.create(&PostParams::default(), &pull).await?;
    let map = ConfigMap {
        metadata,
        data: Some(entries(MUCH).collect()),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.create(&PostParams::default(), &map).await?;
    let image = fixtures::image(&case.cluster, "web")?;
    let app = |name: &str, more: &str| {
        format!(
            "apiVersion: slipway.dev/v1alpha1\nkind: App\nmetadata: {{name: {name}}}
spec:\n  source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}
  processes: {{web: {{replicas: 0}}}}\n{more}"
        )
    };
    let literals =
        entries(MUCH * 9 / 10).map(|(name, value)| format!("{{name: {name}, value: {value}}}"));
    let literals: Vec<String> = literals.collect();
    let literals = format!("  env: [{}]\n", literals.join(", "));
    for number in 0..4 {
        create(case, namespace, &app(&format!("fat-{number}"), &literals)).await?;
        let both = "  envFrom: [{secretRef: {name: giant}}, {configMapRef: {name: giant}, prefix: MAP_}]\n";
        create(case, namespace, &app(&format!("fed-{number}"), both)).await?;
    }
    Ok(())
}

#[test]
fn objects_as_large_as_can_be_delay_nobody_else() {
    case::run("hostile-giants", |case| async move {
        let other = case.other_namespace().await?;
        giants(&case, &other).await?;
        case.apply(&image_app(&case, "modest", "").await?).await?;
        let serves = |app: &App| says(app, types::READY).starts_with("True");
        case.app_until("modest", SOON, "Ready", serves).await?;
        let apps: Api<App> = Api::namespaced(case.cluster.client.clone(), &other);
        let too_much = |app: &App| {
            let said = says(app, types::READY);
            said.contains("all environment variables together have 2")
                && said.contains("there is room for 1048576")
        };
        wait::until(&apps, "fed-0", SOON, "told that it is too much", too_much).await?;
        wait::until(&apps, "fat-0", SOON, "Ready", serves).await?;
        unharmed(&case).await
    });
}
