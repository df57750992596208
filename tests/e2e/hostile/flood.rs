//! A build that writes without end.

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use slipway_crds::v1alpha1::{Build, BuildPhase};
use slipway_tests::{
    app::{READY, SOON, build_phase},
    case::{self, Case},
    dev::image,
};
use tokio::process::Command;

use super::{Script, unharmed};
use crate::logs::Follower;

/// What the operator keeps of a log, as the chart has it.
const KEPT: usize = 16 << 20;
/// Far more than that, in long lines without an end, in sequences that terminals obey, in what cannot be packed, and in
/// many short lines, of each of which the engine's own file is many times as large; then a reason.
pub(crate) const FLOOD: &str = r#"
echo 'the first line'
for i in 1 2 3; do head -c 4000000 /dev/zero | tr '\0' x; echo; done
for i in $(seq 2000); do printf '\033]0;a title\007\033[2J\033[31mcolour\033[8m\b\r%s over\n' "$i"; done
head -c 16000000 /dev/urandom | base64 -w 120
yes short | head -n 500000
echo 'the last line'
echo ' !     the reason' >&2
exit 3
"#;

/// What is shown has nothing that a terminal would obey.
fn plain(text: &str) -> Result<()> {
    let strange = text
        .chars()
        .find(|c| c.is_control() && !['\n', '\t'].contains(c));
    ensure!(strange.is_none(), "{strange:?} is shown");
    Ok(())
}

/// The begin, the end, and a word on what is not there.
fn whole(log: &str) -> Result<()> {
    let lines = log.lines().count();
    for part in [
        "the first line",
        "The log is longer than is kept",
        " bytes of the log were dropped here",
        "the last line",
        " !     the reason",
    ] {
        ensure!(log.contains(part), "no {part:?} in {lines} lines");
    }
    ensure!(log.len() <= KEPT, "{} bytes", log.len());
    Ok(())
}

#[test]
fn of_a_log_without_end_both_ends_are_kept() {
    case::run("hostile-flood", |case| async move {
        let program = image::operator()?;
        let script = Script::new(&case.namespace, FLOOD)?;
        case.apply(&script.app("flood")).await?;
        let build = case.building("flood").await?;
        let name = build.name_any();
        let follower = Follower::start(&case, &program, &name).await?;
        let over = |b: &Build| build_phase(b).is_over();
        let build = case.build_until("flood", READY, "over", over).await?;
        let status = build.status.clone().unwrap_or_default();
        ensure!(status.phase == BuildPhase::Failed, "{status:?}");
        let failure = status.failure.context("why it failed")?;
        let told = failure.last_lines.join("\n");
        ensure!(told.contains("the reason"), "{told}");
        let shown = follower.shown().await?;
        whole(&shown).context("followed")?;
        plain(&shown).context("followed")?;

        let stored = |b: &Build| b.status.as_ref().is_some_and(|s| s.log.is_some());
        case.build_until("flood", SOON, "stored", stored).await?;
        let kept = case.log(&name).await?;
        ensure!(kept.status == 200, "{}", kept.status);
        whole(&kept.body).context("kept")?;
        let shown = printed(&case, &program, &name).await?;
        whole(&shown).context("printed")?;
        plain(&shown).context("printed")?;
        case.say(&format!("{} bytes of log are kept", kept.body.len()));
        unharmed(&case).await
    });
}

/// What `slipway logs build` prints of a log that is kept.
async fn printed(case: &Case, program: &std::path::Path, build: &str) -> Result<String> {
    let mut command = Command::new(program);
    command
        .args(["logs", "build", build, "--namespace", &case.namespace])
        .env("KUBECONFIG", &case.cluster.facts.kubeconfig)
        .kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await;
    let output = output.context("slipway logs does not end")??;
    ensure!(output.status.success(), "{}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
