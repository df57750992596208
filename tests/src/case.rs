//! One end-to-end case. It has a namespace of its own, every status in it is linted, and a report is printed if it
//! fails.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{FutureExt as _, StreamExt as _, future::join_all};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Resource as _, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    app::{READY, SOON},
    cluster::Cluster,
    diagnose, status_lint, wait,
};

/// The label of the cases' namespaces.
const LABEL: &str = "slipway.dev/e2e";

/// What a case works with.
pub struct Case {
    /// The cluster.
    pub cluster: Cluster,
    /// The case's own namespace.
    pub namespace: String,
    /// Whether it has made an App, so that the lints must have seen a status.
    made_app: AtomicBool,
}

/// Whether other cases may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// They may.
    Shared,
    /// They may not, because the case stops the operator or counts what the operator does.
    Alone,
}

/// A case beside which others may run.
pub fn run<F: Future<Output = Result<()>>>(name: &str, body: impl FnOnce(Arc<Case>) -> F) {
    run_with(name, Company::Shared, body);
}

/// A case beside which no other runs.
pub fn run_alone<F: Future<Output = Result<()>>>(name: &str, body: impl FnOnce(Arc<Case>) -> F) {
    run_with(name, Company::Alone, body);
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn run_with<F: Future<Output = Result<()>>>(
    name: &str,
    company: Company,
    body: impl FnOnce(Arc<Case>) -> F,
) {
    static TURN: RwLock<()> = RwLock::new(());
    let asked = Instant::now();
    let _turn = match company {
        Company::Shared => (
            Some(TURN.read().unwrap_or_else(PoisonError::into_inner)),
            None,
        ),
        Company::Alone => (
            None,
            Some(TURN.write().unwrap_or_else(PoisonError::into_inner)),
        ),
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(whole(name, company, asked, body)));
    if let Err(error) = result {
        panic!("{name}: {error:#}");
    }
}

async fn whole<F: Future<Output = Result<()>>>(
    name: &str,
    company: Company,
    asked: Instant,
    body: impl FnOnce(Arc<Case>) -> F,
) -> Result<()> {
    let cluster = Cluster::connect().await?;
    if company == Company::Alone {
        others_gone(&cluster).await?;
    }
    let namespace = new_namespace(&cluster, name, None).await?.name_any();
    let case = Arc::new(Case {
        cluster,
        namespace,
        made_app: AtomicBool::new(false),
    });
    let lints = Lints::default();
    let begun = Instant::now();
    let outcome = {
        let body = AssertUnwindSafe(body(case.clone())).catch_unwind();
        let watching = watch_statuses(&case, &lints);
        tokio::pin!(body, watching);
        tokio::select! {
            outcome = &mut body => outcome,
            error = &mut watching => Ok(Err(error)),
        }
    };
    let outcome = match outcome {
        Ok(result) => result,
        Err(panic) => Err(anyhow!("{}", words(panic.as_ref()))),
    };
    let (waited, took) = (begun.duration_since(asked), begun.elapsed());
    case.say(&format!(
        "took {:.0} s, having waited {:.0} s for its turn",
        took.as_secs_f32(),
        waited.as_secs_f32()
    ));
    let made_app = case.made_app.load(Ordering::Relaxed);
    let outcome = outcome.and_then(|()| lints.outcome(made_app));
    if outcome.is_err() {
        diagnose::print(&case).await;
    }
    let namespaces: Api<Namespace> = Api::all(case.cluster.client.clone());
    let deleted = namespaces
        .delete(&case.namespace, &DeleteParams::background())
        .await;
    outcome.and(deleted.map(drop).map_err(anyhow::Error::from))
}

/// Waits until the namespaces of earlier cases are gone, because the operator is busy with their deletion. Their pods
/// are deleted without their grace period.
async fn others_gone(cluster: &Cluster) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let ours = ListParams::default().labels(&format!("{LABEL}=true"));
    let limit = Duration::from_mins(5);
    wait::until_true(limit, "rid of earlier cases", || async {
        let mut left = namespaces.list_metadata(&ours).await?.items;
        left.retain(|namespace| namespace.metadata.deletion_timestamp.is_some());
        join_all(left.iter().map(async |namespace| {
            let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace.name_any());
            let at_once = DeleteParams::default().grace_period(1);
            // The check below shows whether it helped.
            let _ = pods
                .delete_collection(&at_once, &ListParams::default())
                .await;
        }))
        .await;
        let left: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        Ok(Some(()))
    })
    .await
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// Makes a namespace. It is deleted with its owner, if not before.
async fn new_namespace(
    cluster: &Cluster,
    name: &str,
    owner: Option<&Namespace>,
) -> Result<Namespace> {
    let object: Namespace = serde_json::from_value(json!({
        "metadata": {
            "generateName": format!("e2e-{}-", name.replace('_', "-")),
            // Pods that are not "restricted" are refused here, so every App of every case proves that ours are.
            "labels": {"pod-security.kubernetes.io/enforce": "restricted", LABEL: "true"},
            "ownerReferences": owner.and_then(|owner| owner.owner_ref(&())).as_slice(),
        }
    }))?;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    Ok(namespaces.create(&PostParams::default(), &object).await?)
}

/// Breaches of the status rules, and the number of statuses that were linted.
#[derive(Default)]
struct Lints {
    breaches: Mutex<BTreeSet<String>>,
    statuses: AtomicUsize,
}

impl Lints {
    fn add(&self, breach: String) {
        self.breaches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(breach);
    }

    fn outcome(&self, expected: bool) -> Result<()> {
        let statuses = self.statuses.load(Ordering::Relaxed);
        ensure!(
            !expected || statuses > 0,
            "an App was made, and its status was never seen: the watches of statuses see nothing"
        );
        let found = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_empty() {
            return Ok(());
        }
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        bail!("statuses broke the rules:\n  {}", found.join("\n  "))
    }
}

/// Lints every status in the case's namespace. Returns only if the watch fails.
async fn watch_statuses(case: &Case, lints: &Lints) -> anyhow::Error {
    let kinds = [
        ("App", "apps"),
        ("Revision", "revisions"),
        ("Build", "builds"),
        ("Release", "releases"),
    ];
    let watches = kinds.map(|(kind, plural)| {
        let kind = GroupVersionKind::gvk(slipway_crds::GROUP, "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(case.cluster.client.clone(), &case.namespace, &resource);
        watcher(api, watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .map(move |object| (kind.kind.clone(), object))
            .boxed()
    });
    let mut all = futures::stream::select_all(watches);
    while let Some((kind, object)) = all.next().await {
        // A broken watch is restarted by itself.
        let Ok(object) = object else { continue };
        let Ok(value) = serde_json::to_value(&object) else {
            continue;
        };
        lints.statuses.fetch_add(1, Ordering::Relaxed);
        for breach in status_lint::lint(&kind, &value) {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            lints.add(format!("{kind} {name}: {breach}"));
        }
    }
    anyhow!("the watches of statuses ended")
}

impl Case {
    /// A second namespace, which is deleted with the case's own, if not before.
    pub async fn other_namespace(&self) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let mine = namespaces.get(&self.namespace).await?;
        let other = new_namespace(&self.cluster, "other", Some(&mine)).await?;
        Ok(other.name_any())
    }

    /// Applies objects, as a user does.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        if yaml.lines().any(|line| line == "kind: App") {
            self.made_app.store(true, Ordering::Relaxed);
        }
        self.kubectl_with(&["apply", "--filename=-"], yaml)
            .await
            .map(drop)
    }

    /// Asks the API server whether it would accept objects.
    pub async fn apply_dry(&self, yaml: &str) -> Result<String> {
        let question = ["apply", "--dry-run=server", "--filename=-"];
        self.kubectl_with(&question, yaml).await
    }

    /// Deletes objects.
    pub async fn delete(&self, yaml: &str) -> Result<()> {
        self.kubectl_with(&["delete", "--filename=-"], yaml)
            .await
            .map(drop)
    }

    /// Runs kubectl in the case's namespace. Returns its output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with(arguments, "").await
    }

    /// The same as another user, with `input` on its standard input.
    pub async fn kubectl_as(&self, user: &str, arguments: &[&str], input: &str) -> Result<String> {
        let user = format!("--as={user}");
        let whole = [&[user.as_str()], arguments].concat();
        self.kubectl_with(&whole, input).await
    }

    async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let program = format!("{}/kubectl", self.cluster.facts.bin_dir);
        let mut child = tokio::process::Command::new(program)
            .arg(format!("--kubeconfig={}", self.cluster.facts.kubeconfig))
            .arg(format!("--namespace={}", self.namespace))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        // `kubectl wait` gets a timeout of at most READY.
        let output = tokio::time::timeout(READY + SOON, child.wait_with_output())
            .await
            .context("kubectl does not end")??;
        if !output.status.success() {
            bail!(
                "kubectl {}: {}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Prints a line even if the case passes, such as a figure. It goes to standard error directly, because the test
    /// harness captures what is printed.
    pub fn say(&self, line: &str) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "       {}: {line}", self.namespace);
    }
}
