//! An upgrade from an earlier commit: the new operator reads the old records, makes no Build or Release, moves no pod, and
//! goes on from there. `make upgrade-test BASE=COMMIT`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::{PersistentVolumeClaim, Pod, Service},
    },
};
use kube::{Resource, ResourceExt as _, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, Build, BuildPhase, Release, ReleasePhase, Revision},
};
use slipway_tests::{
    app::{READY, build_phase, git_app, image_app, release_phase, says, serves},
    case::{self, Case},
    dev::{earlier, install},
    fixtures, operator,
};

/// What must be the same afterwards, by kind, name and UID.
type Seen = BTreeMap<String, Value>;

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "make gives the commit by a variable"
)]
fn an_upgrade_moves_nothing_and_goes_on_from_what_is_there() {
    case::run_alone("upgrade", |case| async move {
        let base = std::env::var("UPGRADE_FROM")
            .context("UPGRADE_FROM is to name a commit: run make upgrade-test")?;
        earlier::install(&base)?;
        let outcome = from_earlier(&case).await;
        // Whatever came of it, other tests find this tree's operator.
        install::install(2)?;
        outcome
    });
}

async fn from_earlier(case: &Case) -> Result<()> {
    let repository =
        |name: &str, fixture| fixtures::repository(&format!("{}-{name}", case.namespace), fixture);
    // One with a history, with config from a Secret and a volume.
    let site = repository("site", "python")?;
    case.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {token: abc}\n")
        .await?;
    let site_app = |greeting: &str| {
        let app = git_app("site", &site.url);
        format!(
            "{app}  env:
    - {{name: GREETING, value: {greeting}}}
    - {{name: TOKEN, valueFrom: {{secretKeyRef: {{name: keys, key: token}}}}}}
  storage: [{{name: data, mountPath: /data, claimTemplate: {{size: 1Mi}}}}]
  checks: {{web: [{{type: startup, path: /}}]}}
"
        )
    };
    case.apply(&site_app("one")).await?;
    case.released("site", "site-v1").await?;
    case.apply(&site_app("two")).await?;
    case.released("site", "site-v2").await?;
    // One whose build fails, and one whose second Release does.
    let broken = repository("broken", "broken")?;
    case.apply(&git_app("broken", &broken.url)).await?;
    let failed = |b: &Build| build_phase(b) == BuildPhase::Failed;
    case.build_until("broken", READY, "failed", failed).await?;
    case.apply(&image_app(case, "image", "").await?).await?;
    case.released("image", "image-v1").await?;
    let bad = "  checks: {web: [{type: startup, path: /nowhere, wait: 1, attempts: 3}]}\n";
    case.apply(&image_app(case, "image", bad).await?).await?;
    let failed = |r: &Release| r.spec.number == 2 && release_phase(r) == ReleasePhase::Failed;
    case.release_until("image", READY, "failed", failed).await?;
    case.pods_gone("image", 2).await?;

    let before = seen(case).await?;
    install::install(2)?;
    operator::looked_at_all::<App>(&case.cluster, "app").await?;
    operator::looked_at_all::<App>(&case.cluster, "release").await?;
    operator::looked_at_all::<Build>(&case.cluster, "build").await?;
    // And a look-up at the shortest interval.
    tokio::time::sleep(Duration::from_secs(15)).await;
    same(&before, &seen(case).await?)?;
    ensure!(case.answer("site").await?.contains("two"));
    case.answer("image").await?;
    let failed = case.api::<App>().get("image").await?;
    ensure!(serves(&failed, "image-v1"), "image-v1 serves on");
    let said = says(&failed, types::READY);
    ensure!(said.starts_with("False ChecksFailed"), "{said}");

    // It goes on from there: new code, another config, and what was wrong put right.
    site.write("greeting.txt", "new code\n")?;
    site.commit("new code")?;
    case.released("site", "site-v3").await?;
    case.apply(&site_app("three")).await?;
    case.released("site", "site-v4").await?;
    case.answers_with("site", "/", "three").await?;
    let bye = "  env: [{name: GREETING, value: bye}]\n";
    case.apply(&image_app(case, "image", bye).await?).await?;
    case.released("image", "image-v3").await?;
    case.answers_with("image", "/", "bye").await?;
    Ok(())
}

async fn seen(case: &Case) -> Result<Seen> {
    let mut seen = Seen::new();
    add::<Revision>(case, &mut seen).await?;
    add::<Build>(case, &mut seen).await?;
    add::<Release>(case, &mut seen).await?;
    add::<Deployment>(case, &mut seen).await?;
    add::<ReplicaSet>(case, &mut seen).await?;
    add::<Pod>(case, &mut seen).await?;
    add::<PersistentVolumeClaim>(case, &mut seen).await?;
    add::<Service>(case, &mut seen).await?;
    Ok(seen)
}

/// All objects of a kind: what is asked of them, but of pods only that they are there.
async fn add<K>(case: &Case, seen: &mut Seen) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    for object in case.api::<K>().list(&ListParams::default()).await? {
        let uid = object.uid().context("a UID")?;
        let kind = K::kind(&());
        let name = format!("{kind} {} {uid}", object.name_any());
        let object = serde_json::to_value(&object)?;
        let spec = object.get("spec").filter(|_| kind != "Pod");
        seen.insert(name, spec.cloned().unwrap_or_default());
    }
    Ok(())
}

fn same(before: &Seen, after: &Seen) -> Result<()> {
    let gone: Vec<_> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .collect();
    ensure!(gone.is_empty(), "gone: {gone:#?}");
    let new: Vec<_> = after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .collect();
    ensure!(new.is_empty(), "made: {new:#?}");
    for (name, spec) in before {
        let now = after.get(name).context("it is there")?;
        ensure!(spec == now, "{name}: before {spec:#}, after {now:#}");
    }
    Ok(())
}
