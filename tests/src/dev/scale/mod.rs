//! What a thousand or ten thousand Apps cost on simulated nodes, compared with an earlier commit and with doing the
//! same by hand.

mod arrivals;
mod calm;
mod change;
mod creation;
mod figures;
mod follow;
mod installs;
mod kinds;
mod kubectl;
mod meter;
mod nodes;
mod objects;
mod processes;
mod report;
mod requests;
mod run;
mod watch;

use std::{fs, time::Duration};

use anyhow::Result;
use figures::Figures;
use kubectl::kubectl;
use nodes::Nodes;
use objects::{Crowd, LABEL};

use crate::{
    cluster::Cluster,
    dev::{bench::machine, install, steps::step},
    fixtures, root,
};

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Number of Apps.
    #[arg(long, default_value_t = 1000)]
    apps: usize,
    /// Commit whose operator is measured first; none if empty.
    #[arg(long, default_value = "cd7cce8")]
    base: String,
    /// Measure the installed operator as it is.
    #[arg(long, conflicts_with = "base")]
    installed: bool,
    /// Leave out Deployments and Services by hand.
    #[arg(long)]
    no_plain: bool,
    /// Number of Apps of a last run with only this tree's operator; 0 for no such run.
    #[arg(long, default_value_t = 0)]
    last: usize,
}

/// Takes all figures, prints them as a table, and writes them to `target/bench-scale.json`.
pub fn bench_scale(options: &Options) -> Result<()> {
    fs::create_dir_all(root().join("target/bench-scale"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(all(options))
}

async fn all(options: &Options) -> Result<()> {
    let cluster = Cluster::connect().await?;
    let image = fixtures::image(&cluster, "web")?;
    clear(&cluster).await?;
    let nodes = Nodes::for_pods(&cluster.facts, options.apps.max(options.last)).await?;
    let mut columns = Vec::new();
    let result = columns_of(&cluster, options, &image, &mut columns).await;
    clear(&cluster).await?;
    nodes.remove().await?;
    show(&machine(&cluster).await?, &columns)?;
    if !options.installed {
        // Give Services node ports again.
        install::install(2)?;
    }
    result
}

async fn columns_of(
    cluster: &Cluster,
    options: &Options,
    image: &str,
    columns: &mut Vec<(String, Figures)>,
) -> Result<()> {
    let count = options.apps;
    if !options.installed {
        if !options.base.is_empty() {
            installs::earlier(&options.base)?;
            let figures = run::of_operator(cluster, &Crowd::new("base", count), image).await?;
            columns.push((format!("{count} Apps, {}", options.base), figures));
            clear(cluster).await?;
        }
        installs::now()?;
    }
    let figures = run::of_operator(cluster, &Crowd::new("now", count), image).await?;
    columns.push((format!("{count} Apps, now"), figures));
    clear(cluster).await?;
    if !options.no_plain {
        let figures = run::by_hand(cluster, &Crowd::new("hand", count), image).await?;
        columns.push((format!("{count} by hand"), figures));
        clear(cluster).await?;
    }
    if options.last > 0 {
        let figures = run::of_operator(cluster, &Crowd::new("last", options.last), image).await?;
        columns.push((format!("{} Apps, now", options.last), figures));
    }
    Ok(())
}

/// Deletes all crowds, including those of an interrupted run.
async fn clear(cluster: &Cluster) -> Result<()> {
    step("Deleting what was made");
    let selector = format!("--selector={LABEL}=true");
    let words = [
        "delete",
        "namespace",
        &selector,
        "--ignore-not-found",
        "--wait=true",
    ];
    let deleting = kubectl(&cluster.facts, &words, "");
    tokio::time::timeout(Duration::from_hours(1), deleting).await??;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the command is for")]
fn show(machine: &str, columns: &[(String, Figures)]) -> Result<()> {
    let json = serde_json::json!({"machine": machine, "columns": columns});
    let file = root().join("target/bench-scale.json");
    fs::write(&file, serde_json::to_string_pretty(&json)?)?;
    println!(
        "{machine}\n\n{}\nThe JSON: {}",
        report::table(columns),
        file.display()
    );
    Ok(())
}
