//! Who may read the log of a build, and the program that shows it.

use std::{fs::File, io::Read as _, io::Seek as _, path::Path, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    cluster, fixtures, wait,
};
use tokio::process::{Child, Command};

use slipway_tests::app::git_app;

/// `slipway logs build --follow`, the program, beside a case.
pub(crate) struct Follower {
    program: Child,
    output: File,
}

impl Follower {
    /// Starts the operator's program so, and waits until it has shown something.
    pub(crate) async fn start(case: &Case, program: &Path, build: &str) -> Result<Self> {
        let mut output = tempfile::tempfile()?;
        let program = Command::new(program)
            .args(["logs", "build", build, "--follow"])
            .args(["--namespace", &case.namespace])
            .env("KUBECONFIG", &case.cluster.facts.kubeconfig)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .context("slipway logs")?;
        wait::until_true(SOON, "shown live", || {
            let length = output.seek(std::io::SeekFrom::End(0));
            async move { Ok((length? > 0).then_some(())) }
        })
        .await?;
        Ok(Self { program, output })
    }

    /// Waits for its end, which is the Build's; what it has shown.
    pub(crate) async fn shown(mut self) -> Result<String> {
        let ended = tokio::time::timeout(READY, self.program.wait());
        let status = ended.await.context("slipway logs does not end")??;
        ensure!(status.success(), "slipway logs: {status}");
        let mut text = String::new();
        self.output.rewind()?;
        self.output.read_to_string(&mut text)?;
        Ok(text)
    }
}

#[test]
fn who_may_not_get_a_build_may_not_read_its_log() {
    case::run("log-rights", |case| async move {
        let repository = fixtures::repository(&case.namespace, "broken")?;
        case.apply(&git_app("hello", &repository.url)).await?;
        let failed = |b: &Build| build_phase(b) == BuildPhase::Failed;
        let build = case.build_until("hello", READY, "failed", failed).await?;
        let path = case.log_path(&build.name_any());
        let stranger = case.cluster.as_user("stranger").await?;
        let answer = cluster::request(&stranger, &path).await?;
        ensure!(answer.status == 403, "{answer:?}");
        ensure!(!answer.body.contains("no-such-package"), "{answer:?}");
        let binding = [
            "create",
            "rolebinding",
            "viewers",
            "--clusterrole=view",
            "--user=reader",
        ];
        case.kubectl(&binding).await?;
        let reader = case.cluster.as_user("reader").await?;
        let read = async || {
            let answer = cluster::request(&reader, &path).await?;
            Ok((answer.status == 200).then_some(answer.body))
        };
        let body = wait::until_true(SOON, "readable with the role view", read).await?;
        ensure!(
            body.contains("no-such-package-of-slipway"),
            "a failed build's log: {body}"
        );
        Result::Ok(())
    });
}
