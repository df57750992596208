//! An App of a case: its status, its objects, and what it answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use slipway_crds::{
    conditions::types,
    labels,
    v1alpha1::{App, Build, BuildPhase, Release, ReleasePhase},
};

use crate::{
    case::Case,
    cluster::{self, Answer},
    fixtures, wait,
};

/// How long an App may take from its source to `Ready`: on a slow machine, behind the builds of other cases.
pub const READY: Duration = Duration::from_mins(10);
/// How long a change without a build may take.
pub const SOON: Duration = Duration::from_secs(90);

impl Case {
    /// All objects of a kind in the case's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Waits until the App's current inputs serve.
    pub async fn ready(&self, app: &str) -> Result<App> {
        self.app_until(app, READY, "Ready", is_ready).await
    }

    /// Waits until the App fulfils a condition.
    pub async fn app_until(
        &self,
        app: &str,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&App) -> bool + Send,
    ) -> Result<App> {
        wait::until(&self.api(), app, limit, what, wanted).await
    }

    /// Waits until the App is Ready with this Release.
    pub async fn released(&self, app: &str, release: &str) -> Result<App> {
        let what = format!("Ready with {release}");
        self.app_until(app, READY, &what, |a| is_ready(a) && serves(a, release))
            .await
    }

    /// What the App's Service answers, once it answers 200.
    pub async fn answer(&self, app: &str) -> Result<String> {
        self.answer_at(app, "/").await
    }

    /// What the App's Service answers at a path, once it answers 200.
    pub async fn answer_at(&self, app: &str, path: &str) -> Result<String> {
        wait::until_true(SOON, "answering 200", || async {
            let answer: Answer = self.cluster.get(&self.namespace, app, path).await?;
            ensure!(answer.status == 200, "{app} answered {answer:?}");
            Ok(Some(answer.body))
        })
        .await
    }

    /// Waits until the App's Service answers with a body that has `part` in it.
    pub async fn answers_with(&self, app: &str, path: &str, part: &str) -> Result<String> {
        let what = format!("answering with {part:?}");
        wait::until_true(READY, &what, || async {
            let answer = self.cluster.get(&self.namespace, app, path).await?;
            Ok((answer.status == 200 && answer.body.contains(part)).then_some(answer.body))
        })
        .await
    }

    /// The output of one request to the App's own address, as a user's script makes it, without a retry.
    pub async fn ask_once(&self, app: &str) -> Result<String> {
        let status = self.api::<App>().get(app).await?.status.unwrap_or_default();
        let url = status.url.with_context(|| format!("{app} has no URL"))?;
        let output = tokio::process::Command::new("curl")
            .args(["--fail", "--silent", "--show-error", "--max-time", "10"])
            .arg(&url)
            .output()
            .await
            .context("curl")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{url}: {error}");
        let body = String::from_utf8_lossy(&output.stdout);
        Ok(body.trim().to_owned())
    }

    /// Requests a look-up of the App's source, and waits until it is done.
    pub async fn look_again(&self, app: &str) -> Result<()> {
        let request = self.request(app, labels::RECONCILE_REQUESTED_AT).await?;
        let looked = |a: &App| {
            let status = a.status.as_ref();
            status.and_then(|s| s.last_handled_reconcile_at.as_ref()) == Some(&request)
        };
        self.app_until(app, SOON, "looked at again", looked)
            .await
            .map(drop)
    }

    /// Requests another build of the same source.
    pub async fn build_again(&self, app: &str) -> Result<()> {
        self.request(app, labels::REBUILD_REQUESTED_AT)
            .await
            .map(drop)
    }

    /// Sets an annotation to a value that it never had. Returns the value.
    async fn request(&self, app: &str, annotation: &str) -> Result<String> {
        static REQUESTS: AtomicUsize = AtomicUsize::new(0);
        let value = format!("request-{}", REQUESTS.fetch_add(1, Ordering::Relaxed));
        let pair = format!("{annotation}={value}");
        self.kubectl(&["annotate", "--overwrite", "app", app, &pair])
            .await?;
        Ok(value)
    }

    /// Waits until no pod of the App's Release of this number is left.
    pub async fn pods_gone(&self, app: &str, release: u32) -> Result<()> {
        let ours = format!("{}={app},{}={release}", labels::APP, labels::RELEASE);
        let ours = ListParams::default().labels(&ours);
        let what = format!("rid of the pods of {app}-v{release}");
        wait::until_true(SOON, &what, || async {
            let left = self.api::<Pod>().list_metadata(&ours).await?.items;
            Ok(left.is_empty().then_some(()))
        })
        .await
    }

    /// Waits until at most so many pods of the App are left, including those that are ending.
    pub async fn pods_left(&self, app: &str, most: usize) -> Result<()> {
        let ours = ListParams::default().labels(&format!("{}={app}", labels::APP));
        wait::until_true(SOON, &format!("of {most} pods"), || async {
            let left = self.api::<Pod>().list_metadata(&ours).await?.items;
            Ok((left.len() <= most).then_some(()))
        })
        .await
    }

    /// Waits until `kubectl describe` shows Events with these reasons in this order; other Events may come in between.
    pub async fn tells(&self, app: &str, story: &[&str]) -> Result<()> {
        let what = format!("telling of {app}: {}", story.join(", "));
        wait::until_true(SOON, &what, || async {
            let told = self.kubectl(&["describe", "app", app]).await?;
            let (_, events) = told.split_once("\nEvents:").context("no Events")?;
            let mut reasons = events.lines().filter_map(|l| l.split_whitespace().nth(1));
            let whole = story.iter().all(|wanted| reasons.any(|r| r == *wanted));
            ensure!(whole, "Events:{events}");
            Ok(Some(()))
        })
        .await
    }

    /// The path of a Build's log on the API server.
    pub fn log_path(&self, build: &str) -> String {
        let namespace = &self.namespace;
        format!("/apis/logs.slipway.dev/v1alpha1/namespaces/{namespace}/builds/{build}/log")
    }

    /// The answer to a request for a Build's log.
    pub async fn log(&self, build: &str) -> Result<Answer> {
        cluster::request(&self.cluster.client, &self.log_path(build)).await
    }

    /// The App's Builds, oldest first.
    pub async fn builds(&self, app: &str) -> Result<Vec<Build>> {
        let mut found = self
            .api::<Build>()
            .list(&ListParams::default())
            .await?
            .items;
        found.retain(|b| b.spec.app.name == app);
        found.sort_by_key(|b| b.metadata.creation_timestamp.clone().map(|t| t.0));
        Ok(found)
    }

    /// The App's Releases, by number.
    pub async fn releases(&self, app: &str) -> Result<Vec<Release>> {
        let mut found = self
            .api::<Release>()
            .list(&ListParams::default())
            .await?
            .items;
        found.retain(|r| r.spec.app.name == app);
        found.sort_by_key(|r| r.spec.number);
        Ok(found)
    }

    /// Waits until the App has a Build that fulfils a condition.
    pub async fn build_until(
        &self,
        app: &str,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Build) -> bool + Send + Sync,
    ) -> Result<Build> {
        wait::any(&self.api::<Build>(), limit, what, |build| {
            build.spec.app.name == app && wanted(build)
        })
        .await
        .with_context(|| format!("a Build of {app}"))
    }

    /// Waits until buildpacks run for the App.
    pub async fn building(&self, app: &str) -> Result<Build> {
        let building = |b: &Build| build_phase(b) == BuildPhase::Building;
        self.build_until(app, READY, "building", building).await
    }

    /// Waits until the App has a Release that fulfils a condition.
    pub async fn release_until(
        &self,
        app: &str,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&Release) -> bool + Send + Sync,
    ) -> Result<Release> {
        wait::any(&self.api::<Release>(), limit, what, |release| {
            release.spec.app.name == app && wanted(release)
        })
        .await
        .with_context(|| format!("a Release of {app}"))
    }
}

/// An App of a git repository, all else default.
pub fn git_app(name: &str, url: &str) -> String {
    format!(
        "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {name}}}
spec:
  source: {{git: {{url: '{url}', ref: main, interval: 10s}}}}
"
    )
}

/// An App of an image of the local registry, with more lines for its spec.
pub async fn image_app(case: &Case, name: &str, more: &str) -> Result<String> {
    image_app_of(case, "web", name, more).await
}

/// The same of another fixture.
pub async fn image_app_of(case: &Case, fixture: &str, name: &str, more: &str) -> Result<String> {
    let image = fixtures::image(&case.cluster, fixture)?;
    case.apply(&fixtures::pull_secret(&case.cluster, "pull")?)
        .await?;
    Ok(format!(
        "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {name}}}
spec:
  source: {{image: {{reference: '{image}', pullSecretRef: {{name: pull}}}}}}
{more}"
    ))
}

/// Whether the App's current inputs serve, as `kubectl wait` sees it.
pub fn is_ready(app: &App) -> bool {
    app.status.as_ref().is_some_and(|s| {
        s.observed_generation == app.metadata.generation
            && wait::is_true(&s.conditions, types::READY)
    })
}

/// Whether this Release serves.
pub fn serves(app: &App, release: &str) -> bool {
    app.status
        .as_ref()
        .and_then(|s| s.serving.as_ref())
        .is_some_and(|s| s.release == release)
}

/// The status, reason and message of one of the App's conditions, for people and for `contains`.
pub fn says(app: &App, kind: &str) -> String {
    app.status
        .as_ref()
        .and_then(|s| wait::condition(&s.conditions, kind))
        .map(|c| format!("{} {}: {}", c.status, c.reason, c.message))
        .unwrap_or_default()
}

/// The Build's phase.
pub fn build_phase(build: &Build) -> BuildPhase {
    build.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

/// The Release's phase.
pub fn release_phase(release: &Release) -> ReleasePhase {
    release.status.as_ref().map(|s| s.phase).unwrap_or_default()
}
