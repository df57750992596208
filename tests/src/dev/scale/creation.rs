//! Many Apps at once, and the same by hand: how long it takes, and what it costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kube::{Api, api::DynamicObject};
use serde_json::Value;

use crate::{
    cluster::Cluster,
    dev::{
        scale::{
            arrivals::Arrivals,
            figures::{Figures, as_f64, per},
            kinds,
            kubectl::{apply, apply_all},
            meter::{Meter, Reading},
            objects::Crowd,
            watch::{self, watch},
        },
        steps::note,
    },
    fixtures,
};

/// Time that a slow machine may take: for each, and in addition.
const EACH: Duration = Duration::from_millis(600);
const LEAST: Duration = Duration::from_mins(5);

/// How long so many may take.
pub(super) fn limit(count: usize) -> Duration {
    LEAST + EACH * u32::try_from(count).unwrap_or(u32::MAX)
}

/// Makes Apps, and waits until the operator has nothing more to do with them.
pub(super) async fn of_apps(
    cluster: &Cluster,
    crowd: &Crowd,
    image: &str,
    meter: &Meter<'_>,
) -> Result<Figures> {
    let secret = fixtures::pull_secret(cluster, "pull")?;
    apply(&cluster.facts, &crowd.grounds(&secret)).await?;
    let made = Made {
        texts: crowd.apps(image),
        api: kinds::apps(cluster),
        selector: "",
        wanted: watch::ready,
        count: crowd.count,
    };
    let (mut figures, spent) = made.measured(cluster, meter).await?;
    let Reading {
        requests,
        cpu,
        wire,
        ..
    } = spent;
    let reads = |kind: &String| kind.starts_with("get ") || kind.starts_with("list ");
    ensure!(
        requests.kinds.keys().any(reads),
        "the audit log has no reads: this cluster was made before it had them; make cluster-down cluster-up"
    );
    for (kind, number) in &requests.kinds {
        note(&format!("{:8.2} {kind}", per(*number, crowd.count)));
    }
    figures.requests_per_app = Some(per(requests.total(), crowd.count));
    figures.kilobytes_on_the_wire_per_app = Some(wire / 1000.0 / as_f64(crowd.count));
    figures.cpu_seconds_per_app = Some(cpu / as_f64(crowd.count));
    figures.peak_megabytes_creating = Some(meter.peak());
    figures.requests.creation = requests;
    Ok(figures)
}

/// Makes Deployments and Services.
pub(super) async fn by_hand(
    cluster: &Cluster,
    crowd: &Crowd,
    image: &str,
    meter: &Meter<'_>,
) -> Result<Figures> {
    let secret = fixtures::pull_secret(cluster, "pull")?;
    apply(&cluster.facts, &crowd.grounds(&secret)).await?;
    let made = Made {
        texts: crowd.by_hand(image),
        api: kinds::deployments(cluster),
        // The operator's own Deployment does not count.
        selector: "metadata.namespace!=slipway-system",
        wanted: watch::available,
        count: crowd.count,
    };
    made.measured(cluster, meter)
        .await
        .map(|(figures, _)| figures)
}

struct Made<'a> {
    texts: Vec<String>,
    api: Api<DynamicObject>,
    selector: &'a str,
    wanted: fn(&Value) -> bool,
    count: usize,
}

impl Made<'_> {
    async fn measured(self, cluster: &Cluster, meter: &Meter<'_>) -> Result<(Figures, Reading)> {
        let before = meter.read()?;
        let begin = Instant::now();
        let limit = limit(self.count);
        let making = async {
            apply_all(&cluster.facts, &self.texts).await?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let seen = watch(self.api, self.selector, self.count, self.wanted, limit);
        let (seconds, seen): (f64, Arrivals) = tokio::try_join!(making, seen)?;
        let last = seen.last().context("none is there")?;
        meter.steady(last, limit).await;
        let spent = meter.read()?.since(&before);
        let (first_status_median, first_status_maximum) = seen.first_status();
        let figures = Figures {
            apps: self.count,
            seconds_of_kubectl: seconds,
            seconds_to_converge: (last - begin).as_secs_f64(),
            first_status_median,
            first_status_maximum,
            api_server_cpu_seconds_per_app: spent.api_server_cpu / as_f64(self.count),
            ..Figures::default()
        };
        Ok((figures, spent))
    }
}
