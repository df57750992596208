//! Figures, taken on the local cluster: how long builds and deploys take, and what the operator costs when idle.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::Serialize;
use slipway_crds::{labels, v1alpha1::Build};

use crate::{audit::Mark, case, case::Case, fixtures, operator, root, wait};

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// What it should be at most, where there is an aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<f64>,
}

/// Takes all figures, prints them as a table and writes `target/bench.json`.
pub fn bench() -> Result<()> {
    case::run_alone("bench", |case| async move {
        let mut figures = Vec::new();
        for fixture in ["python", "node"] {
            builds(&case, fixture, &mut figures).await?;
        }
        image_app(&case, &mut figures).await?;
        idle(&case, &mut figures).await?;
        show(&figures);
        let file = root().join("target/bench.json");
        fs::write(&file, serde_json::to_vec_pretty(&figures)?)?;
        case.say(&format!("as JSON: {}", file.display()));
        Ok(())
    });
    Ok(())
}

async fn builds(case: &Arc<Case>, fixture: &str, figures: &mut Vec<Figure>) -> Result<()> {
    let repository = fixtures::repository(&format!("{}-{fixture}", case.namespace), fixture)?;
    case.apply(&format!(
        "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {fixture}}}
spec: {{source: {{git: {{url: '{}', ref: main}}}}}}",
        repository.url
    ))
    .await?;
    case.ready(fixture).await?;
    let first = case.builds(fixture).await?.pop().context("a Build")?;
    timings(&format!("{fixture}, first build"), &first, None, figures);

    let annotation = format!("{}=again", labels::REBUILD_REQUESTED_AT);
    case.kubectl(&["annotate", "app", fixture, &annotation])
        .await?;
    let name = first.metadata.name.clone();
    let again = case
        .build_until(fixture, Duration::from_mins(5), "over", |b| {
            b.metadata.name != name && crate::app::build_phase(b).is_over()
        })
        .await?;
    timings(
        &format!("{fixture}, unchanged rebuild"),
        &again,
        Some(5.0),
        figures,
    );
    case.ready(fixture).await?;
    Ok(())
}

/// Each step of a Build, the whole, and what is not the buildpack's compile.
fn timings(what: &str, build: &Build, whole: Option<f64>, figures: &mut Vec<Figure>) {
    let mut add = |what: String, milliseconds: i64, aim: Option<f64>| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let value = milliseconds as f64 / 1000.0;
        figures.push(Figure {
            what,
            value,
            unit: "s",
            aim,
        });
    };
    let Some(status) = &build.status else { return };
    for timing in &status.timings {
        add(
            format!("{what}: {}", timing.step),
            timing.milliseconds,
            None,
        );
    }
    let (Some(begin), Some(end)) = (&status.started_at, &status.finished_at) else {
        return;
    };
    let compile: i64 = status
        .timings
        .iter()
        .filter(|t| t.step.starts_with("compile"))
        .map(|t| t.milliseconds)
        .sum();
    // Times in a status are whole seconds: the whole is right to a second.
    let all = (end.0 - begin.0).get_milliseconds() + (end.0 - begin.0).get_seconds() * 1000;
    add(format!("{what}: whole"), all, whole);
    add(
        format!("{what}: own part"),
        (all - compile).max(0),
        Some(3.0),
    );
}

async fn image_app(case: &Arc<Case>, figures: &mut Vec<Figure>) -> Result<()> {
    let image = fixtures::image(&case.cluster, "web")?;
    // The second App finds the image on the node: what is left is ours.
    for (name, aim) in [("pulled", None), ("there", Some(5.0))] {
        let begin = Instant::now();
        case.apply(&format!(
            "apiVersion: slipway.dev/v1alpha1
kind: App
metadata: {{name: {name}}}
spec: {{source: {{image: {{reference: '{image}'}}}}}}"
        ))
        .await?;
        case.answer(name).await?;
        figures.push(Figure {
            what: format!("image app, image {name}: apply to first answer"),
            value: begin.elapsed().as_secs_f64(),
            unit: "s",
            aim,
        });
        case.ready(name).await?;
    }
    Ok(())
}

async fn idle(case: &Arc<Case>, figures: &mut Vec<Figure>) -> Result<()> {
    case.say("a minute of idleness");
    // What the last deploy left to be written is written.
    wait::until_true(Duration::from_mins(1), "quiet for 10 s", || async {
        let mark = Mark::now(&case.cluster)?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(mark.writes(None)?.is_empty().then_some(()))
    })
    .await?;
    let mark = Mark::now(&case.cluster)?;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let writes = mark.writes(None)?;
    for write in &writes {
        case.say(&format!("{write:?}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    figures.push(Figure {
        what: "writes in an idle minute".to_owned(),
        value: writes.len() as f64,
        unit: "",
        aim: Some(0.0),
    });
    for (n, memory) in operator::memory(&case.cluster)
        .await?
        .into_iter()
        .enumerate()
    {
        figures.push(Figure {
            what: format!("operator {n}: resident memory, idle"),
            value: memory,
            unit: "MB",
            aim: Some(40.0),
        });
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table")]
fn show(figures: &[Figure]) {
    println!("| figure | value | aim |\n|---|---|---|");
    for Figure {
        what,
        value,
        unit,
        aim,
    } in figures
    {
        let aim = aim.map(|a| format!("≤ {a} {unit}")).unwrap_or_default();
        println!("| {what} | {value:.1} {unit} | {} |", aim.trim_end());
    }
}
