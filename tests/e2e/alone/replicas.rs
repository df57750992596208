//! Two replicas of the operator: one leads, and the other serves what needs no leader until its turn comes.

use anyhow::ensure;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use slipway_tests::{app::SOON, case, dev::image, fixtures, operator, wait};

use crate::{alone::crash::one_start_a_zone, logs::Follower};
use slipway_tests::app::git_app;

#[test]
fn when_the_leader_is_killed_the_other_replica_goes_on() {
    case::run_alone("failover", |case| async move {
        let replicas = operator::pods(&case.cluster).await?.len();
        ensure!(replicas == 2, "two replicas are installed, not {replicas}");
        let program = image::operator()?;
        let other = case.other_namespace().await?;

        let repository = fixtures::repository(&case.namespace, "python")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let build = case.building("hello").await?;
        let follower = Follower::start(&case, &program, &build.name_any()).await?;
        let dead = operator::kill_leader(&case.cluster).await?;
        // Build logs are an API of the cluster: while one of those is away, no namespace goes.
        let namespaces: Api<Namespace> = Api::all(case.cluster.client.clone());
        namespaces.delete(&other, &DeleteParams::default()).await?;
        wait::until_gone(&namespaces, &other, SOON).await?;
        operator::succeeded(&case.cluster, &[dead]).await?;

        case.released("hello", "hello-v1").await?;
        ensure!(case.answer("hello").await?.contains("Hello from python"));
        let shown = follower.shown().await?;
        let kept = case.log(&build.name_any()).await?.body;
        ensure!(shown == kept, "followed: {shown}\nkept: {kept}");
        one_start_a_zone(&case, &build).await
    });
}
