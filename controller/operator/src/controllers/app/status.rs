//! What was found → the App's status. Pure; the golden file `tests/golden/conditions.txt` is its truth table.
//!
//! `Ready` means that the current inputs serve, `Available` that some good Release does. The message of `Ready` is that
//! of the first open step, so that one message tells the user what is missing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use slipway_crds::{
    conditions::{Conditioned as _, Reason, types},
    labels,
    v1alpha1::{AppStatus, LatestStatus, ProcessStatus, Release, ServingStatus},
};

use crate::controllers::app::{
    report::{Facts, Report, Running, RunningProcess, Step},
    running::see_pods,
};
use slipway_base::text::bounded;
use slipway_core::conditions::{Conditions, State};
use slipway_core::domain::formation::WEB;

/// Most notes, and most bytes of each, as in the schema.
const NOTES: usize = 16;
const NOTE: usize = 512;

/// The status of an App.
pub(super) fn status(facts: &Facts<'_>, now: Timestamp) -> AppStatus {
    let Facts {
        before,
        generation,
        app,
        report,
        serving,
        running,
    } = facts;
    let before = before.cloned().unwrap_or_default();
    let web = running.processes.iter().find(|p| p.name == WEB);
    AppStatus {
        observed_generation: *generation,
        conditions: conditions(facts, &before, now),
        url: running.url.clone(),
        serving: if report.unsure {
            before.serving.clone()
        } else {
            serving.map(|release| serving_status(release, report))
        },
        latest: latest(report, before.latest),
        processes: processes(*serving, running),
        replicas: web.map(|web| web.replicas),
        selector: web.map(|_| {
            let pairs: Vec<String> = labels::selector(app, WEB)
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            pairs.join(",")
        }),
        last_handled_reconcile_at: report
            .handled_reconcile
            .clone()
            .or(before.last_handled_reconcile_at),
        last_handled_rebuild_at: report
            .handled_rebuild
            .clone()
            .or(before.last_handled_rebuild_at),
        last_handled_rerender_at: report
            .handled_rerender
            .clone()
            .or(before.last_handled_rerender_at),
        last_revision_number: report.revision_number.max(before.last_revision_number),
        last_release_number: report.release_number.max(before.last_release_number),
        notes: notes(&report.notes),
    }
}

fn conditions(facts: &Facts<'_>, before: &AppStatus, now: Timestamp) -> Vec<Condition> {
    let report = facts.report;
    let mut conditions = Conditions::new(&before.conditions, facts.generation, now);
    for (type_, step) in [
        (types::SOURCE_READY, &report.source),
        (types::BUILT, &report.build),
        (types::RELEASED, &report.release),
        (types::CHECKS_PASSED, &report.rollout),
    ] {
        let state = match step {
            Step::Done(..) => State::True,
            Step::Waiting(_) | Step::Working(..) => State::Unknown,
            Step::Retrying(..) | Step::Failed(..) => State::False,
        };
        let (reason, message) = step.said();
        conditions = conditions.set(type_, state, reason, message);
    }
    let (available, message) = available(facts);
    let (state, reason) = match available {
        _ if report.unsure => (State::Unknown, Reason::RecordUnreadable),
        true => (State::True, Reason::Serving),
        false => (State::False, Reason::Waiting),
    };
    conditions = conditions.set(types::AVAILABLE, state, reason, message.clone());
    let open = report.first_open();
    let ready = open.is_none() && available;
    let (reason, message) = match open {
        None if available => {
            let (_, said) = report.rollout.said();
            let idle = facts
                .serving
                .and_then(|release| idle(release, facts.running));
            let message = format!("{said}{}", idle.unwrap_or_default());
            (Reason::Serving, message)
        }
        None => (Reason::Progressing, message),
        Some(step) => {
            let (reason, message) = step.said();
            (reason, message.to_owned())
        }
    };
    let (reason, message) = if report.suspended && !ready {
        let message = format!("suspended (spec.suspend), with this left undone: {message}");
        (Reason::Suspended, message)
    } else {
        (reason, message)
    };
    let stalled = !ready && (report.suspended || matches!(open, Some(Step::Failed(..))));
    conditions
        .set(types::READY, ready, reason, message.clone())
        .set(types::STALLED, stalled, reason, message.clone())
        .set(types::RECONCILING, !ready && !stalled, reason, message)
        .build()
}

/// Processes of the serving Release that are wanted and have no ready pod. Processes that only a newer Release has do
/// not belong to what serves.
fn down<'a>(serving: &Release, running: &'a Running) -> Vec<&'a RunningProcess> {
    let of_it = |p: &&RunningProcess| serving.spec.processes.contains_key(&p.name);
    let wanted = running.processes.iter().filter(of_it);
    wanted.filter(|p| p.desired > 0 && p.ready == 0).collect()
}

fn available(facts: &Facts<'_>) -> (bool, String) {
    if facts.report.unsure {
        let message = "what ran is left as it is; whether it serves is not known";
        return (false, message.to_owned());
    }
    let Some(serving) = facts.serving else {
        return (false, "nothing serves yet".to_owned());
    };
    let down = down(serving, facts.running);
    if !down.is_empty() {
        let names: Vec<&str> = down.iter().map(|p| p.name.as_str()).collect();
        let see = see_pods(facts.app);
        let message = format!("no pod of {} is ready: {see}", names.join(", "));
        return (false, message);
    }
    let idle = idle(serving, facts.running).unwrap_or_default();
    let name = serving.name_any();
    let message = format!("{name} serves {}{idle}", serving.spec.revision_id);
    (true, message)
}

/// What is added to the message if the serving Release has no pods because it was scaled to zero.
fn idle(serving: &Release, running: &Running) -> Option<String> {
    let mut names = serving.spec.processes.iter().map(|(name, process)| {
        let live = running.processes.iter().find(|p| p.name == *name);
        (name, live.map_or(process.replicas, |live| live.desired))
    });
    if names.clone().all(|(_, desired)| desired == 0) {
        return Some(", but nothing runs: all its processes are at 0 replicas".to_owned());
    }
    names
        .any(|(name, desired)| name == WEB && desired == 0)
        .then(|| format!(", but answers no requests: {WEB} is at 0 replicas"))
}

fn serving_status(release: &Release, report: &Report) -> ServingStatus {
    // A commit that results in the same image makes no new Release, but it is served.
    let revision = report
        .revision
        .as_ref()
        .filter(|_| report.current.as_deref() == Some(release.name_any().as_str()))
        .map_or_else(|| release.spec.revision_id.clone(), |(_, id)| id.clone());
    ServingStatus {
        release: release.name_any(),
        revision,
        image: release.spec.image.reference.clone(),
    }
}

fn latest(report: &Report, before: Option<LatestStatus>) -> Option<LatestStatus> {
    let before = before.unwrap_or_default();
    let latest = LatestStatus {
        revision: report
            .revision
            .as_ref()
            .map(|(name, _)| name.clone())
            .or(before.revision),
        build: report.build_name.clone().or(before.build),
        release: report.release_name.clone().or(before.release),
    };
    (latest != LatestStatus::default()).then_some(latest)
}

fn processes(
    serving: Option<&Release>,
    running: &Running,
) -> std::collections::BTreeMap<String, ProcessStatus> {
    running
        .processes
        .iter()
        .map(|process| {
            let command = serving
                .and_then(|release| release.spec.processes.get(&process.name))
                .and_then(|p| p.command.clone());
            let status = ProcessStatus {
                command,
                desired: process.desired,
                ready: process.ready,
            };
            (process.name.clone(), status)
        })
        .collect()
}

fn notes(found: &[String]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for note in found {
        let note = bounded(note.clone(), NOTE);
        if !notes.contains(&note) && notes.len() < NOTES {
            notes.push(note);
        }
    }
    notes
}

/// What the user should hear when `after` follows `before` and no other controller reports it: reason, message, and
/// whether it is trouble. The controllers of Builds and Releases emit their own Events.
pub(super) fn news(
    before: Option<&AppStatus>,
    after: &AppStatus,
) -> Option<(Reason, String, bool)> {
    let now = after.condition(types::READY)?;
    let was = before.and_then(|before| before.condition(types::READY));
    let was_available = before.is_some_and(|before| before.is(types::AVAILABLE, "True"));
    if was_available
        && after.is(types::AVAILABLE, "False")
        && now.reason == Reason::Progressing.as_str()
    {
        return Some((Reason::Progressing, now.message.clone(), true));
    }
    if was.is_some_and(|was| (&was.status, &was.reason) == (&now.status, &now.reason)) {
        return None;
    }
    // One pod more or less while others serve is normal.
    let serves = now.reason == Reason::Serving.as_str();
    let scaled = was.is_some_and(|was| was.reason == Reason::Progressing.as_str());
    if serves && scaled && was_available {
        return None;
    }
    // The Release controller reports that a new Release serves.
    let serving = |status: &AppStatus| status.serving.as_ref().map(|s| s.release.clone());
    if serves && serving(after) != before.and_then(serving) {
        return None;
    }
    // The controller of an existing Build or Release reports what blocks it.
    let own_creates = [Reason::NameTaken, Reason::TemporaryFailure];
    let blocked = own_creates.into_iter().find(|reason| {
        let steps = [types::BUILT, types::RELEASED].map(|type_| after.condition(type_));
        now.reason == reason.as_str()
            && (steps.into_iter().flatten())
                .any(|c| c.status == "False" && c.reason == reason.as_str())
    });
    if let Some(reason) = blocked {
        return Some((reason, now.message.clone(), true));
    }
    let own = [
        Reason::Serving,
        Reason::Suspended,
        Reason::InvalidSpec,
        Reason::SourceUnavailable,
        Reason::SourceNotFound,
        Reason::PlatformMismatch,
        Reason::ReferenceMissing,
        Reason::StackMissing,
        Reason::NoProcesses,
        Reason::RootRequired,
        Reason::RecordUnreadable,
    ];
    let reason = own.into_iter().find(|r| r.as_str() == now.reason)?;
    let trouble = !matches!(reason, Reason::Serving | Reason::Suspended);
    Some((reason, now.message.clone(), trouble))
}

#[cfg(test)]
mod tests {
    use super::{down, idle, news, status};
    use crate::controllers::app::report::{Facts, Report, Running, RunningProcess, Step};
    use jiff::Timestamp;
    use slipway_crds::{
        conditions::{Reason, types},
        v1alpha1::{AppStatus, Release, ReleaseProcess, ReleaseSpec},
    };
    use std::fmt::Write as _;

    #[test]
    fn it_is_said_when_what_serves_was_scaled_to_nothing() {
        let release = |processes: &[(&str, i32)]| {
            let processes = processes.iter().map(|(name, replicas)| {
                let process = ReleaseProcess {
                    replicas: *replicas,
                    ..ReleaseProcess::default()
                };
                ((*name).to_owned(), process)
            });
            let spec = ReleaseSpec {
                processes: processes.collect(),
                ..ReleaseSpec::default()
            };
            Release::new("hello-v2", spec)
        };
        let running = |desired: &[(&str, i32)]| Running {
            processes: desired
                .iter()
                .map(|(name, desired)| RunningProcess {
                    name: (*name).to_owned(),
                    desired: *desired,
                    replicas: 0,
                    ready: 0,
                })
                .collect(),
            url: None,
        };
        for (made, live, part) in [
            (&[("web", 1)][..], &[][..], None),
            (&[("web", 1)], &[("web", 0)], Some("nothing runs")),
            (&[("web", 0)], &[("web", 1)], None),
            (
                &[("web", 1), ("worker", 1)],
                &[("web", 0)],
                Some("no requests: web"),
            ),
            (&[("worker", 0)], &[], Some("nothing runs")),
            (&[("worker", 1)], &[], None),
        ] {
            let said = idle(&release(made), &running(live));
            let fits = match part {
                Some(part) => said.as_deref().is_some_and(|said| said.contains(part)),
                None => said.is_none(),
            };
            assert!(fits, "{made:?} {live:?}: {said:?}");
        }
    }

    fn done() -> Report {
        Report {
            source: Step::Done(Reason::RevisionCreated, "s".into()),
            source_known: true,
            build: Step::Done(Reason::BuildSucceeded, "b".into()),
            release: Step::Done(Reason::ReleaseCreated, "r".into()),
            rollout: Step::Done(Reason::Deployed, "hello-v2 serves".into()),
            scale: Step::Done(Reason::Serving, "s".into()),
            suspended: false,
            revision: Some(("hello-rev".into(), "abc".into())),
            revision_number: None,
            build_name: Some("hello-build".into()),
            release_name: Some("hello-v2".into()),
            release_number: Some(2),
            current: Some("hello-v2".into()),
            unsure: false,
            notes: vec!["n".into(), "n".into()],
            handled_reconcile: None,
            handled_rebuild: None,
            handled_rerender: None,
        }
    }

    fn waiting() -> Step {
        Step::Waiting("w".into())
    }

    /// Every kind of moment in an App's life: its name, the report, whether a Release serves, and how many pods are
    /// ready.
    fn cases() -> Vec<(&'static str, Report, bool, i32)> {
        let d = done;
        let first = |source| Report {
            source,
            source_known: false,
            build: waiting(),
            release: waiting(),
            rollout: waiting(),
            ..d()
        };
        let building = |build| Report {
            build,
            release: waiting(),
            rollout: waiting(),
            ..d()
        };
        let releasing = |release| Report {
            release,
            rollout: waiting(),
            ..d()
        };
        let rolling = |rollout| Report { rollout, ..d() };
        let scaling = || Report {
            scale: Step::Working(Reason::Progressing, "1 of 3 web ready".into()),
            ..d()
        };
        let w = |r: Reason| Step::Working(r, "working".into());
        let f = |r: Reason| Step::Failed(r, "failed".into());
        let t = |r: Reason| Step::Retrying(r, "retrying".into());
        vec![
            (
                "a Release cannot be read",
                Report::unreadable("hello-v3 cannot be read".into()),
                true,
                1,
            ),
            (
                "the spec cannot be carried out, nothing serves",
                Report::stopped(Reason::InvalidSpec, "x".into()),
                false,
                0,
            ),
            (
                "the spec cannot be carried out, v1 serves",
                Report::stopped(Reason::InvalidSpec, "x".into()),
                true,
                1,
            ),
            (
                "the source is looked up for the first time",
                first(w(Reason::ResolvingSource)),
                false,
                0,
            ),
            (
                "the source is away, and no Revision is known",
                first(t(Reason::SourceUnavailable)),
                false,
                0,
            ),
            (
                "the source is away, the known Revision serves",
                Report {
                    source: t(Reason::SourceUnavailable),
                    ..d()
                },
                true,
                1,
            ),
            (
                "the source is away while a known Revision builds",
                Report {
                    source: t(Reason::SourceUnavailable),
                    ..building(w(Reason::BuildRunning))
                },
                true,
                1,
            ),
            (
                "the branch is gone, nothing serves",
                first(f(Reason::SourceNotFound)),
                false,
                0,
            ),
            (
                "the branch is gone, v1 serves",
                Report {
                    source: f(Reason::SourceNotFound),
                    ..d()
                },
                true,
                1,
            ),
            (
                "the Stack is missing",
                building(f(Reason::StackMissing)),
                false,
                0,
            ),
            (
                "the first build waits",
                building(w(Reason::BuildQueued)),
                false,
                0,
            ),
            (
                "the first build runs",
                building(w(Reason::BuildRunning)),
                false,
                0,
            ),
            (
                "a build runs, v1 serves",
                building(w(Reason::BuildRunning)),
                true,
                1,
            ),
            (
                "the first build failed",
                building(f(Reason::BuildFailed)),
                false,
                0,
            ),
            (
                "a build failed, v1 serves",
                building(f(Reason::BuildFailed)),
                true,
                1,
            ),
            (
                "a build was interrupted, v1 serves",
                building(t(Reason::BuildInterrupted)),
                true,
                1,
            ),
            (
                "a build was cancelled, v1 serves",
                building(f(Reason::BuildCancelled)),
                true,
                1,
            ),
            (
                "a referred Secret is missing, v1 serves",
                releasing(f(Reason::ReferenceMissing)),
                true,
                1,
            ),
            (
                "the image wants root",
                releasing(f(Reason::RootRequired)),
                false,
                0,
            ),
            (
                "the Release was just made",
                releasing(w(Reason::ReleaseCreated)),
                false,
                0,
            ),
            (
                "the first Release rolls out",
                rolling(w(Reason::Deploying)),
                false,
                0,
            ),
            (
                "a Release rolls out, v1 serves",
                rolling(w(Reason::Deploying)),
                true,
                1,
            ),
            ("a name is taken", rolling(f(Reason::NameTaken)), false, 0),
            (
                "the first Release failed",
                rolling(f(Reason::ChecksFailed)),
                false,
                0,
            ),
            (
                "a Release failed, v1 serves again",
                rolling(f(Reason::ChecksFailed)),
                true,
                1,
            ),
            (
                "a Release failed, v1 does not come up again",
                rolling(f(Reason::ChecksFailed)),
                true,
                0,
            ),
            ("all is well", d(), true, 1),
            (
                "all is well, and then every pod is gone",
                scaling(),
                true,
                0,
            ),
            ("all is well, and it is scaled up", scaling(), true, 1),
            (
                "scaled up while suspended",
                Report {
                    suspended: true,
                    ..scaling()
                },
                true,
                1,
            ),
            (
                "suspended while all is well",
                Report {
                    suspended: true,
                    ..d()
                },
                true,
                1,
            ),
            (
                "suspended in the middle of a build, v1 serves",
                Report {
                    suspended: true,
                    ..building(w(Reason::BuildRunning))
                },
                true,
                1,
            ),
            (
                "suspended before anything was done",
                Report {
                    suspended: true,
                    ..first(w(Reason::ResolvingSource))
                },
                false,
                0,
            ),
        ]
    }

    fn serving() -> Release {
        let web = ("web".to_owned(), ReleaseProcess::default());
        Release::new(
            "hello-v2",
            ReleaseSpec {
                revision_id: "abc".into(),
                processes: [web].into(),
                ..ReleaseSpec::default()
            },
        )
    }

    fn of(report: &Report, serves: bool, ready: i32, before: Option<&AppStatus>) -> AppStatus {
        let release = serving();
        let running = Running {
            processes: vec![RunningProcess {
                name: "web".into(),
                desired: i32::from(serves),
                replicas: 1,
                ready,
            }],
            url: None,
        };
        let facts = Facts {
            before,
            generation: Some(3),
            app: "hello",
            report,
            serving: serves.then_some(&release),
            running: &running,
        };
        status(&facts, Timestamp::from_second(7).unwrap())
    }

    #[test]
    fn conditions_are_as_the_table_says() {
        let mut table = String::from(
            "# The conditions of an App at each moment of its life. `UPDATE=1 cargo test -p slipway conditions` writes it.\n",
        );
        for (moment, report, serves, ready) in cases() {
            writeln!(table, "\n{moment}").unwrap();
            for condition in of(&report, serves, ready, None).conditions {
                writeln!(
                    table,
                    "  {:<13} {:<8} {}",
                    condition.type_, condition.status, condition.reason
                )
                .unwrap();
            }
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/conditions.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &table).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap_or_default(), table);
    }

    #[test]
    fn every_moment_is_one_that_kstatus_understands() {
        for (moment, report, serves, ready) in cases() {
            let conditions = of(&report, serves, ready, None).conditions;
            let is = |type_: &str| {
                conditions
                    .iter()
                    .find(|c| c.type_ == type_)
                    .map(|c| c.status.as_str())
            };
            assert!(
                is(types::READY).is_some() && is(types::AVAILABLE).is_some(),
                "{moment}"
            );
            let abnormal = [types::RECONCILING, types::STALLED].map(|t| is(t) == Some("True"));
            // Exactly one of the three: ready, under way, stalled.
            let states = [is(types::READY) == Some("True"), abnormal[0], abnormal[1]];
            assert_eq!(
                states.into_iter().filter(|s| *s).count(),
                1,
                "{moment}: {conditions:?}"
            );
            assert!(
                conditions
                    .iter()
                    .all(|c| c.observed_generation == Some(3) && !c.message.is_empty()),
                "{moment}"
            );
        }
    }

    #[test]
    fn its_own_output_changes_nothing() {
        for (moment, report, serves, ready) in cases() {
            let first = of(&report, serves, ready, None);
            assert_eq!(of(&report, serves, ready, Some(&first)), first, "{moment}");
            assert_eq!(news(Some(&first), &first), None, "{moment}");
        }
    }

    #[test]
    fn a_message_says_where_it_hangs() {
        let report = Report {
            build: Step::Failed(Reason::BuildFailed, "pip failed".into()),
            ..done()
        };
        let status = of(&report, true, 1, None);
        let ready = status
            .conditions
            .iter()
            .find(|c| c.type_ == types::READY)
            .unwrap();
        assert_eq!(ready.message, "pip failed");
        assert_eq!(
            status.selector.as_deref(),
            Some("slipway.dev/app=hello,slipway.dev/process=web")
        );
        assert_eq!(status.notes, ["n"]);
    }

    #[test]
    fn what_only_a_newer_release_has_is_no_part_of_what_serves() {
        let process = |name: &str, ready| RunningProcess {
            name: name.into(),
            desired: 1,
            replicas: 1,
            ready,
        };
        let mut running = Running {
            processes: vec![process("web", 1), process("worker", 0)],
            url: None,
        };
        let old = serving();
        assert!(down(&old, &running).is_empty());
        running.processes[0].ready = 0;
        assert_eq!(down(&old, &running), [&process("web", 0)]);
    }

    #[test]
    fn events_are_of_what_nobody_else_tells() {
        let serving = of(&done(), true, 1, None);
        assert_eq!(news(None, &serving), None);
        let missing = Report {
            release: Step::Failed(Reason::ReferenceMissing, "no Secret x".into()),
            ..done()
        };
        assert!(
            news(Some(&serving), &of(&missing, true, 1, None))
                .unwrap()
                .2
        );
        let (reason, message, trouble) =
            news(Some(&of(&missing, true, 1, None)), &serving).unwrap();
        assert_eq!(
            (reason, message.as_str(), trouble),
            (Reason::Serving, "hello-v2 serves", false)
        );
        let failed = Report {
            build: Step::Failed(Reason::BuildFailed, "x".into()),
            ..done()
        };
        assert_eq!(news(Some(&serving), &of(&failed, true, 1, None)), None);
        // All pods went: no other controller reports that about the serving Release.
        let gone = Report {
            scale: Step::Working(Reason::Progressing, "0 of 1 web ready".into()),
            ..done()
        };
        let told = news(Some(&serving), &of(&gone, true, 0, None));
        assert_eq!(
            told,
            Some((Reason::Progressing, "0 of 1 web ready".into(), true))
        );
        // One of several is normal.
        let fewer = of(&gone, true, 1, None);
        assert_eq!(news(Some(&serving), &fewer), None);
        assert_eq!(news(Some(&fewer), &serving), None);
        assert!(news(Some(&fewer), &of(&gone, true, 0, None)).is_some());
        let taken = Report {
            release: Step::Retrying(Reason::NameTaken, "hello-v3 is not ours".into()),
            ..done()
        };
        assert!(news(Some(&serving), &of(&taken, true, 1, None)).is_some());
        let taken = Report {
            rollout: Step::Failed(Reason::NameTaken, "Service hello is not ours".into()),
            ..done()
        };
        assert_eq!(news(Some(&serving), &of(&taken, true, 1, None)), None);
    }
}
