//! What an administrator changes, and Apps: nothing moves by itself, all of it rolls out on request, and what breaks pods
//! does not get through.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};
use serde_json::json;
use slipway_crds::{
    conditions::types,
    v1alpha1::{App, ReleasePhase},
};
use slipway_tests::{
    app::{READY, SOON, release_phase, says, serves},
    case::{self, Case},
    dev::install,
    fixtures, operator,
    registry::Way,
    root,
};

use crate::config::who;
use slipway_tests::app::{git_app, image_app};

/// Apps whose image we built: nodes pull it from where the administrator says. For each: what a node says of it.
const BUILT: [(&str, &str); 2] = [("away", "EOF"), ("locked", "authoriz")];
/// All of them.
const APPS: [&str; 4] = ["away", "locked", "one", "two"];

#[test]
fn settings_of_the_site_move_nothing_by_themselves_and_what_breaks_pods_does_not_serve() {
    case::run_alone("settings", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        repository.write("app.json", "{}")?;
        who(&repository, ".")?;
        repository.commit("a web process")?;
        for (app, _) in BUILT {
            let yaml = git_app(app, &repository.url);
            case.apply(&format!("{yaml}  deadlines: {{deploy: 30s}}\n"))
                .await?;
        }
        for app in ["one", "two"] {
            case.apply(&image_app(&case, app, "").await?).await?;
        }
        for app in APPS {
            case.ready(app).await?;
        }

        let repository = |app| format!("slipway/{}/{app}", case.namespace);
        let way = Way::shut(&case.cluster, &repository("away"), &repository("locked"))?;
        let before = install::installed()?;
        let mut values = before.clone();
        values["registry"]["pullAddress"] = json!(way.address);
        values["apps"]["drainSeconds"] = json!(7);
        // Whatever comes of it, other cases have the settings of before.
        let outcome = match install::reinstall(&values) {
            Ok(()) => changed(&case, &way).await,
            error => error,
        };
        install::reinstall(&before)?;
        outcome
    });
}

/// Names of the pods of an App.
async fn pods(case: &Case, app: &str) -> Result<BTreeSet<String>> {
    let ours = ListParams::default().labels(&format!("slipway.dev/app={app}"));
    let pods = case.api::<Pod>().list_metadata(&ours).await?.items;
    Ok(pods.iter().map(ResourceExt::name_any).collect())
}

/// How long a web process of the App waits for traffic to go elsewhere.
async fn drain(case: &Case, app: &str) -> Result<i64> {
    let deployment = case.api::<Deployment>().get(&format!("{app}-web")).await?;
    let template = deployment.spec.context("a spec")?.template;
    let container = template.spec.context("a pod")?.containers.remove(0);
    let hook = container.lifecycle.and_then(|l| l.pre_stop?.sleep);
    Ok(hook.context("a hook")?.seconds)
}

async fn changed(case: &Case, way: &Way) -> Result<()> {
    let mut before = BTreeMap::new();
    for app in APPS {
        before.insert(app, pods(case, app).await?);
    }
    let unmoved = async |app: &str| -> Result<()> {
        let releases = case.releases(app).await?.len();
        ensure!(releases == 1, "{app} has {releases} releases");
        let now = pods(case, app).await?;
        ensure!(Some(&now) == before.get(app), "pods of {app}: {now:?}");
        Ok(())
    };
    for controller in ["app", "release"] {
        operator::looked_at_all::<App>(&case.cluster, controller).await?;
    }
    for app in APPS {
        unmoved(app).await?;
        let told = |app: &App| {
            let notes = app.status.iter().flat_map(|s| &s.notes);
            let mut notes = notes.filter(|n| n.contains("an administrator has changed"));
            notes.any(|n| n.contains("registry address, drain time"))
        };
        case.app_until(app, SOON, "told that settings wait", told)
            .await?;
    }

    let rerender = "slipway.dev/rerender-requested-at=now";
    case.kubectl(&["annotate", "app", "one", rerender]).await?;
    case.released("one", "one-v2").await?;
    ensure!(drain(case, "one").await? == 7);
    unmoved("two").await?;

    // Nodes cannot pull from the new address: what serves goes on, and the App says why.
    let mut all = all_at_once(case)?;
    for (app, said) in BUILT {
        let failed = |a: &App| {
            serves(a, &format!("{app}-v1"))
                && says(a, types::READY).starts_with("False RegistryUnavailable")
                && says(a, types::AVAILABLE).starts_with("True")
        };
        let now = case.app_until(app, READY, "failed", failed).await?;
        let message = says(&now, types::READY);
        for part in [said, way.address.as_str(), "tried again"] {
            ensure!(message.contains(part), "no {part:?} in {message}");
        }
        let release = case.releases(app).await?.pop().context("a release")?;
        ensure!(release_phase(&release) == ReleasePhase::Failed);
        ensure!(case.ask_once(app).await? == "nobody", "{app} serves on");
    }

    // It is there again: nobody has to do anything.
    way.open();
    let ended = tokio::time::timeout(READY, all.wait()).await;
    ensure!(
        ended.context("all at once")??.success(),
        "not all are Ready"
    );
    for app in APPS {
        let release = case.releases(app).await?.pop().context("a release")?;
        let why = release.spec.cause;
        let wanted = match app {
            "one" | "two" => "cluster settings changed: registry address, drain time",
            _ => "another try of v2",
        };
        ensure!(why == wanted, "{app}: {why}");
        ensure!(drain(case, app).await? == 7, "{app}");
    }
    Ok(())
}

/// Has all Apps of the case rolled out with the settings of now, as the README does it for all of the cluster.
fn all_at_once(case: &Case) -> Result<tokio::process::Child> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let block = readme
        .lines()
        .skip_while(|line| !line.contains("export AT="))
        .take_while(|line| line.starts_with("      "));
    let script = block.collect::<Vec<_>>().join("\n");
    ensure!(script.contains("get apps -A "), "the README has: {script}");
    let here = format!("get apps --namespace={} ", case.namespace);
    let script = script.replace("get apps -A ", &here);
    let facts = &case.cluster.facts;
    let script = format!("PATH={}:$PATH\n{script}", facts.bin_dir);
    tokio::process::Command::new("sh")
        .args(["-c", &script])
        .env("KUBECONFIG", &facts.kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("sh")
}
