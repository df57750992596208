//! What each phase costs for an operator and a crowd of Apps: making the Apps, a restart of the operator, changes to
//! some Apps, an idle minute.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{
    cluster::Cluster,
    dev::{
        scale::{
            change, creation,
            figures::{Figures, as_f64, per},
            meter::Meter,
            objects::Crowd,
        },
        steps::step,
    },
    operator, wait,
};

const BEFORE: Duration = Duration::from_mins(3);

/// Takes all figures of the installed operator.
pub(super) async fn of_operator(cluster: &Cluster, crowd: &Crowd, image: &str) -> Result<Figures> {
    let earlier_gone = || async {
        let pods = operator::pods(cluster).await?;
        let going = pods
            .iter()
            .any(|pod| pod.metadata.deletion_timestamp.is_some());
        Ok((!going).then_some(()))
    };
    wait::until_true(
        BEFORE,
        "rid of the pods of another installation",
        earlier_gone,
    )
    .await?;
    // Restart the operator, so that it has nothing in memory.
    operator::kill(cluster).await?;
    let meter = Meter::new(&cluster.facts)?;
    tokio::select! {
        figures = phases(cluster, crowd, image, &meter) => figures,
        error = meter.tend() => Err(error),
    }
}

/// Takes the figures of as many Deployments and Services that are made without Slipway.
pub(super) async fn by_hand(cluster: &Cluster, crowd: &Crowd, image: &str) -> Result<Figures> {
    let meter = Meter::new(&cluster.facts)?;
    step(&format!("Making {} Deployments and Services", crowd.count));
    tokio::select! {
        figures = creation::by_hand(cluster, crowd, image, &meter) => figures,
        error = meter.tend() => Err(error),
    }
}

async fn phases(
    cluster: &Cluster,
    crowd: &Crowd,
    image: &str,
    meter: &Meter<'_>,
) -> Result<Figures> {
    let settled = meter.steady(Instant::now(), BEFORE).await;
    settled.context("the operator does not come to rest before anything is asked of it")?;
    let at_rest = meter.peak();
    step(&format!("Making {} Apps", crowd.count));
    let mut figures = creation::of_apps(cluster, crowd, image, meter).await?;
    let grown = figures.peak_megabytes_creating.map(|peak| peak - at_rest);
    let per_app = |grown: f64| grown * 1000.0 / as_f64(crowd.count);
    figures.kilobytes_of_memory_per_app = grown.map(per_app);
    step("Restarting the operator");
    restart(cluster, meter, &mut figures).await?;
    step("Changing some Apps");
    changes(cluster, crowd, meter, &mut figures).await?;
    step("A minute of nothing");
    let before = meter.read()?;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let idle = meter.read()?.since(&before).requests;
    figures.requests_in_an_idle_minute = Some(idle.total());
    figures.writes_in_an_idle_minute = Some(idle.writes());
    figures.requests.idle = idle;
    Ok(figures)
}

async fn restart(cluster: &Cluster, meter: &Meter<'_>, figures: &mut Figures) -> Result<()> {
    let before = meter.read()?;
    meter.count_successors();
    let begin = Instant::now();
    operator::kill(cluster).await?;
    let steady = meter.steady(begin, creation::limit(figures.apps)).await;
    let asked = meter.read()?.since(&before).requests;
    figures.seconds_from_restart_to_steady = steady.map(|at| (at - begin).as_secs_f64());
    figures.requests_of_restart_per_app = Some(per(asked.total(), figures.apps));
    figures.requests.restart = asked;
    figures.peak_megabytes_restarting = Some(meter.peak());
    Ok(())
}

async fn changes(
    cluster: &Cluster,
    crowd: &Crowd,
    meter: &Meter<'_>,
    figures: &mut Figures,
) -> Result<()> {
    let before = meter.read()?;
    figures.seconds_of_a_change = Some(change::some(cluster, crowd).await?);
    meter
        .steady(Instant::now(), creation::limit(figures.apps))
        .await;
    let asked = meter.read()?.since(&before).requests;
    figures.requests_of_a_change = Some(per(asked.total(), change::ROUNDS));
    figures.requests.changes = asked;
    Ok(())
}
