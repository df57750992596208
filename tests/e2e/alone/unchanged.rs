//! What nobody changes is not written.

use std::time::Duration;

use anyhow::{Result, ensure};
use slipway_crds::v1alpha1::App;
use slipway_tests::{audit::Mark, case, fixtures, operator};

use crate::ownership::quiet;
use slipway_tests::app::{git_app, image_app};

#[test]
fn an_unchanged_app_is_not_written_also_after_a_restart_of_the_operator() {
    case::run_alone("no-write", |case| async move {
        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("jobs", &repository.url)).await?;
        let app = image_app(&case, "hello", "").await?;
        case.apply(&app).await?;
        case.ready("jobs").await?;
        case.ready("hello").await?;
        quiet(&case).await?;

        let mark = Mark::now(&case.cluster)?;
        case.look_again("jobs").await?;
        case.look_again("hello").await?;
        quiet(&case).await?;
        let writes = mark.writes(Some(&case.namespace))?;
        // The status says that the request was handled: one write an App, and no other.
        ensure!(
            writes.len() == 2 && writes.iter().all(|w| w.resource == "apps/status"),
            "{writes:?}"
        );

        let mark = Mark::now(&case.cluster)?;
        operator::kill(&case.cluster).await?;
        for controller in ["app", "release"] {
            operator::looked_at_all::<App>(&case.cluster, controller).await?;
        }
        // And a look-up at the shortest interval.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let writes = mark.writes(Some(&case.namespace))?;
        ensure!(writes.is_empty(), "written after a restart: {writes:?}");
        case.say("0 writes after a restart of the operator");
        Result::Ok(())
    });
}
