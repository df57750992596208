//! Which of Slipway's kinds the API server knows, according to discovery.

use std::time::Duration;

use kube::{Client, CustomResourceExt as _};
use slipway_crds::v1alpha1::{App, Build, Release, Revision, Stack};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::classify;

/// Interval between two requests while a kind is missing, and while none is.
const SOON: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_mins(1);
/// Longest time of one request.
const DEADLINE: Duration = Duration::from_secs(10);

/// Names of our CustomResourceDefinitions.
pub fn wanted() -> Vec<String> {
    vec![
        App::crd_name().to_owned(),
        Revision::crd_name().to_owned(),
        Build::crd_name().to_owned(),
        Release::crd_name().to_owned(),
        Stack::crd_name().to_owned(),
    ]
}

/// Keeps `missing` up to date for ever. If the API server cannot be asked, it stays as it was.
pub async fn watch(client: Client, missing: watch::Sender<Vec<String>>) {
    loop {
        match timeout(DEADLINE, look(&client)).await {
            Ok(Ok(now)) => {
                missing.send_if_modified(|before| {
                    let changed = *before != now;
                    if changed && now.is_empty() {
                        tracing::info!("the API server knows all of our kinds");
                    } else if changed {
                        tracing::warn!(
                            missing = now.join(", "),
                            "CustomResourceDefinitions are missing: install them (manifests/install.yaml or the chart)"
                        );
                    }
                    *before = now;
                    changed
                });
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot ask the API server for our kinds"),
            Err(_) => tracing::warn!("the API server did not say in time which kinds it knows"),
        }
        let pause = if missing.borrow().is_empty() {
            LATER
        } else {
            SOON
        };
        sleep(pause).await;
    }
}

async fn look(client: &Client) -> Result<Vec<String>, kube::Error> {
    let known = classify::found(
        client
            .list_api_group_resources("slipway.dev/v1alpha1")
            .await,
    )?;
    let known: Vec<String> = known
        .into_iter()
        .flat_map(|list| list.resources)
        .map(|resource| format!("{}.slipway.dev", resource.name))
        .collect();
    Ok(wanted()
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect())
}
