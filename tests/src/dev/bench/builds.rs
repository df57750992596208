//! Builds: the first of an App, one after a changed line, one of an unchanged tree. Each is compared with `docker
//! build` and push of the same folder on the same engine, if the image has what that needs.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::{
    labels,
    v1alpha1::{Build, BuildPhase},
};

use super::figures::Figures;
use crate::{
    app::build_phase,
    case::Case,
    cluster::layout,
    dev::steps::{docker, quietly},
    fixtures,
};

const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_mins(10);

pub(super) async fn take(case: &Arc<Case>, figures: &mut Figures) -> Result<()> {
    for fixture in ["python", "node"] {
        let repository = fixtures::repository(&format!("{}-{fixture}", case.namespace), fixture)?;
        let by_hand = (fixture == "python")
            .then(|| ByHand::new(case, repository.folder()))
            .transpose()?;
        let spec = format!(
            "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {fixture}}}
spec: {{source: {{git: {{url: '{}', ref: main, interval: 1h}}}}}}",
            repository.url
        );
        let what = format!("{fixture}, first build");
        timed(case, fixture, &what, None, figures, async || {
            case.apply(&spec).await
        })
        .await?;
        if let Some(by_hand) = &by_hand {
            by_hand.timed(&what, true, figures)?;
        }
        for round in 0..ROUNDS {
            repository.write("greeting.txt", &format!("round {round}\n"))?;
            repository.commit("another greeting")?;
            let what = format!("{fixture}, a changed line");
            let look =
                async || annotate(case, fixture, labels::RECONCILE_REQUESTED_AT, round).await;
            timed(case, fixture, &what, None, figures, look).await?;
            if let Some(by_hand) = &by_hand {
                by_hand.timed(&what, false, figures)?;
            }
            let what = format!("{fixture}, unchanged rebuild");
            let again = async || annotate(case, fixture, labels::REBUILD_REQUESTED_AT, round).await;
            timed(case, fixture, &what, Some(5.0), figures, again).await?;
            if let Some(by_hand) = &by_hand {
                by_hand.timed(&what, false, figures)?;
            }
        }
        case.kubectl(&["delete", "app", fixture, "--wait=true"])
            .await?;
    }
    Ok(())
}

async fn annotate(case: &Case, app: &str, annotation: &str, round: usize) -> Result<()> {
    let annotation = format!("{annotation}=round-{round}");
    let words = ["annotate", "app", app, &annotation, "--overwrite"];
    case.kubectl(&words).await.map(drop)
}

/// Seconds from the request to the end of its Build, with and without the buildpacks' compile.
async fn timed(
    case: &Arc<Case>,
    app: &str,
    what: &str,
    aim: Option<f64>,
    figures: &mut Figures,
    request: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let known: BTreeSet<String> = case
        .builds(app)
        .await?
        .iter()
        .map(Build::name_any)
        .collect();
    let begin = Instant::now();
    request().await?;
    let new_and_over = |b: &Build| !known.contains(&b.name_any()) && build_phase(b).is_over();
    let build = case
        .build_until(app, LIMIT, "new and over", new_and_over)
        .await?;
    let whole = begin.elapsed().as_secs_f64();
    ensure!(
        build_phase(&build) == BuildPhase::Succeeded,
        "{:?}",
        build.status
    );
    let compile = compile_seconds(&build);
    figures.add(&format!("{what}: whole"), whole, "s", aim);
    figures.add(&format!("{what}: compile"), compile, "s", None);
    figures.add(
        &format!("{what}: own part"),
        whole - compile,
        "s",
        Some(3.0),
    );
    case.ready(app).await?;
    Ok(())
}

fn compile_seconds(build: &Build) -> f64 {
    let timings = build.status.iter().flat_map(|s| &s.timings);
    timings
        .filter(|t| t.step.starts_with("compile"))
        .map(|t| Duration::from_millis(t.milliseconds.try_into().unwrap_or(0)).as_secs_f64())
        .sum()
}

/// The Dockerfile that somebody without Slipway would write for the python fixture. It installs the requirements first.
const DOCKERFILE: &str = "FROM slipway-stack-build:heroku-24
USER root
WORKDIR /app
COPY ca.crt requirements.txt ./
RUN PIP_CERT=/app/ca.crt sh -c 'python3 -m venv /venv && /venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt'
COPY . .
";

/// `docker build` and push of a folder.
struct ByHand<'a> {
    case: &'a Case,
    source: &'a Path,
    context: tempfile::TempDir,
}

impl<'a> ByHand<'a> {
    fn new(case: &'a Case, source: &'a Path) -> Result<Self> {
        let context = tempfile::tempdir()?;
        Ok(Self {
            case,
            source,
            context,
        })
    }

    fn timed(&self, what: &str, from_nothing: bool, figures: &mut Figures) -> Result<()> {
        let facts = &self.case.cluster.facts;
        let folder = self.context.path();
        fixtures::copy_to(self.source, folder)?;
        fs::remove_dir_all(folder.join(".git")).context("the context's .git")?;
        fs::write(folder.join("Dockerfile"), DOCKERFILE)?;
        fs::copy(&facts.ca_bundle_file, folder.join("ca.crt"))?;
        let tag = "bench/by-hand";
        let begin = Instant::now();
        let mut build = docker(facts);
        build.args(["build", "--tag", tag]);
        if from_nothing {
            build.arg("--no-cache");
        }
        quietly(&format!("docker build: {what}"), build.arg(folder))?;
        slipway_cluster::load::load(&layout()?, tag)?;
        let name = format!("{what}: docker build and push");
        figures.add(&name, begin.elapsed().as_secs_f64(), "s", None);
        Ok(())
    }
}
