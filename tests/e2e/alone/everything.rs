//! All attacks at once.

use kube::{Api, ResourceExt as _};
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, build_phase},
    case, fixtures, wait,
};

use crate::hostile::{
    Script, create, flood::FLOOD, git, greedy, readers, readers::Talker, registry, unharmed,
};
use slipway_tests::app::git_app;

#[test]
fn all_at_once_harm_neither_the_operator_nor_a_neighbour() {
    // It holds a place among those that build, and waits for another one: no other case may do so meanwhile.
    case::run_alone("hostile-all", |case| async move {
        let (wild, wilder) = (case.other_namespace().await?, case.other_namespace().await?);
        // Not behind look-ups that never end.
        let wildest = case.other_namespace().await?;
        // One that writes without end, after it was waited for by readers who take nothing.
        let script = format!("{}{FLOOD}", readers::TALKS_ON);
        let flood = Script::new(&format!("{}-flood", case.namespace), &script)?;
        create(&case, &wilder, &flood.app("flood")).await?;
        let builds: Api<Build> = Api::namespaced(case.cluster.client.clone(), &wilder);
        let building = |b: &Build| build_phase(b) == BuildPhase::Building;
        let build = wait::any(&builds, READY, "building", building).await?;
        let path = readers::log_for_all(&case, &wilder, &build.name_any()).await?;
        git::servers(&case, &wild).await?;
        registry::registries(&case, &wild).await?;
        greedy::giants(&case, &wild).await?;
        let crowd = greedy::crowd(&case, &wildest, "sleep 1\n").await?;
        let held = readers::readers(&case, &path, 1).await?;
        let silent = readers::silent(&case).await?;
        Talker::of(&build)?.end(&case).await?;

        let repository = fixtures::repository(&case.namespace, "worker")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        case.ready("hello").await?;
        unharmed(&case).await?;
        let over = |b: &Build| build_phase(b).is_over();
        wait::until(&builds, &build.name_any(), READY, "over", over).await?;
        wait::any(&crowd, READY, "over", over).await?;
        unharmed(&case).await?;
        drop((held, silent));
        Ok(())
    });
}
