use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};
use slipway_crds::{
    conditions::types,
    v1alpha1::{Build, BuildPhase, BuildStatus, Duration, Quantity, ResourceAmounts, Resources},
};

use crate::build::{
    next::{Cancel, Ending, Turn},
    status::{
        Findings, REPORTED, blocked, ended, preparing, refused, running, stored, troubled, waiting,
    },
    zones::{Awaited, EndedBy, Preparing, ZoneState, Zones},
};
use slipway_base::{
    text::plain::plain,
    zone::{Zone, report},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn build() -> Build {
    let mut build = Build::default();
    build.metadata.name = Some("hello-abc".into());
    build.metadata.generation = Some(1);
    build.spec.timeout = Duration::from_secs(1800);
    build
}

fn after(status: BuildStatus) -> Build {
    Build {
        status: Some(status),
        ..build()
    }
}

fn begun() -> Build {
    after(running(&build(), Zone::Fetch, at(100)))
}

fn condition<'a>(status: &'a BuildStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == type_)
}

/// Ready's status and reason, and which of the abnormal conditions is present.
fn summary(status: &BuildStatus) -> String {
    let ready = condition(status, types::READY).unwrap();
    let abnormal: Vec<&str> = [types::RECONCILING, types::STALLED]
        .into_iter()
        .filter(|type_| condition(status, type_).is_some())
        .collect();
    format!(
        "{:?} {} {} {}",
        status.phase,
        ready.status,
        ready.reason,
        abnormal.join(",")
    )
}

fn message(status: &BuildStatus) -> &str {
    &condition(status, types::READY).unwrap().message
}

const IMAGE: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn read<T: serde::de::DeserializeOwned + Default>(report: Option<&[u8]>) -> T {
    report.map_or_else(T::default, |report| serde_json::from_slice(report).unwrap())
}

fn good() -> Findings {
    let report = |value: Value| serde_json::to_vec(&value).unwrap();
    let exited = |milliseconds| ZoneState::Exited {
        code: 0,
        by: EndedBy::Itself,
        milliseconds,
    };
    Findings {
        fetch: read(Some(&report(json!({
            "source": {"repository": "s/n/a", "digest": IMAGE}, "appJson": "{}",
            "timings": [{"step": "source", "milliseconds": 5}],
        })))),
        build: read(Some(&report(json!({
            "packs": [{"name": "python", "detected": "Python\u{1b}[1m", "digest": "sha256:1", "report": {"version": "3.13"}}],
            "processes": {"web": "python app.py"},
            "timings": [{"step": "detect", "milliseconds": 1}, {"step": "compile/python", "milliseconds": 900}],
        })))),
        export: read(Some(&report(json!({
            "image": {"repository": "s/n/a", "digest": IMAGE},
        })))),
        without_report: None,
        zones: Some(Zones {
            fetch: exited(10),
            build: exited(1000),
            export: exited(20),
        }),
        last_lines: vec!["one".into()],
        memory_bytes: Some(2 << 30),
        at_ceiling: false,
    }
}

#[test]
fn a_build_under_way_says_where_it_is() {
    let queued = waiting(&build(), &Turn::Queued { ahead: 1 }, at(1));
    assert_eq!(summary(&queued), "Pending False BuildQueued Reconciling");
    for (zone, phase) in [
        (Zone::Fetch, "Fetching"),
        (Zone::Build, "Building"),
        (Zone::Export, "Exporting"),
    ] {
        let status = running(&begun(), zone, at(200));
        assert_eq!(
            summary(&status),
            format!("{phase} False BuildRunning Reconciling")
        );
        assert_eq!(status.started_at.unwrap().0, at(100), "the limit counts on");
        assert_eq!(status.observed_generation, Some(1));
    }
}

#[test]
fn trouble_changes_nothing_but_what_is_said() {
    let status = troubled(&begun(), "cannot reach the engine".into(), at(200));
    assert_eq!(
        summary(&status),
        "Fetching False TemporaryFailure Reconciling"
    );
    let status = blocked(&build(), "there is no Secret x".into(), at(200));
    assert_eq!(
        summary(&status),
        "Pending False ReferenceMissing Reconciling"
    );
    assert_eq!(message(&status), "there is no Secret x");
}

#[test]
fn what_a_zone_waits_for_is_said_and_what_hinders_it_too() {
    let image = || Awaited::Image("r/build@sha256:1".into());
    for (awaits, trouble, reason, said) in [
        (
            image(),
            None,
            "PullingImage",
            "waits until the build engine has pulled r/build@sha256:1",
        ),
        (
            image(),
            Some("connection\u{1b}[1m refused"),
            "TemporaryFailure",
            "the build engine cannot pull r/build@sha256:1: connection refused; tried again",
        ),
        (
            Awaited::Start,
            None,
            "BuildQueued",
            "waits until the build engine starts it",
        ),
    ] {
        let trouble = trouble.map(str::to_owned);
        let status = preparing(&begun(), &Preparing { awaits, trouble }, at(200));
        assert_eq!(
            summary(&status),
            format!("Fetching False {reason} Reconciling")
        );
        assert_eq!(message(&status), said);
    }
}

#[test]
fn a_status_made_from_itself_is_the_same() {
    for status in [
        running(&begun(), Zone::Fetch, at(300)),
        running(
            &after(running(&begun(), Zone::Fetch, at(300))),
            Zone::Fetch,
            at(400),
        ),
    ] {
        assert_eq!(Some(status), begun().status);
    }
}

#[test]
fn a_good_build_has_all_that_the_app_needs() {
    let status = ended(&begun(), &Ending::Exported, &good(), at(134));
    assert_eq!(summary(&status), "Succeeded True BuildSucceeded ");
    assert_eq!(
        message(&status),
        format!("built s/n/a@{IMAGE} with python in 34s")
    );
    assert_eq!(status.seconds, Some(34));
    assert_eq!(status.processes["web"], "python app.py");
    assert_eq!(status.packs[0].detected.as_deref(), Some("Python"));
    assert_eq!(status.pack_names.as_deref(), Some("python"));
    assert_eq!(status.app_json.as_deref(), Some("{}"));
    assert!(status.source.is_some() && status.failure.is_none());
    let steps: Vec<_> = status
        .timings
        .iter()
        .map(|t| format!("{} {}", t.step, t.milliseconds))
        .collect();
    assert_eq!(
        steps,
        [
            "zone/fetch 10",
            "source 5",
            "zone/build 1000",
            "detect 1",
            "compile/python 900",
            "zone/export 20"
        ]
    );
}

#[test]
fn an_image_that_is_none_is_no_success() {
    let mut findings = good();
    if let Some(image) = &mut findings.export.image {
        image.digest = "sha256:short".into();
    }
    let status = ended(&begun(), &Ending::Exported, &findings, at(134));
    assert_eq!(summary(&status), "Failed False BuildFailed Stalled");
    assert_eq!(status.image, None);
}

/// As with a Build that an operator of another version began: its zones wrote their reports elsewhere.
#[test]
fn a_build_that_ended_well_without_a_report_is_no_success_and_may_be_made_again() {
    let exited = |code| ZoneState::Exited {
        code,
        by: EndedBy::Itself,
        milliseconds: 1,
    };
    let image = json!({"image": {"repository": "s/n/a", "digest": IMAGE}}).to_string();
    let zones = || Zones {
        fetch: exited(0),
        build: exited(0),
        export: exited(0),
    };
    for missing in [
        Some(Zone::Fetch),
        Some(Zone::Build),
        Some(Zone::Export),
        None,
    ] {
        let report = |zone| (Some(zone) != missing).then_some(image.as_bytes());
        let findings = Findings::reported(zones(), report);
        let status = ended(&begun(), &Ending::Exported, &findings, at(134));
        let Some(zone) = missing else {
            assert_eq!(summary(&status), "Succeeded True BuildSucceeded ");
            continue;
        };
        assert_eq!(summary(&status), "Failed False BuildInterrupted Stalled");
        let said = format!(
            "{} failed: ended well, and its report is lost",
            zone.as_str()
        );
        assert!(message(&status).starts_with(&said), "{status:?}");
        assert_eq!(status.image, None);
    }
    // A report that cannot be read counts as lost; a zone that failed still has its exit code.
    let garbage = Findings::reported(zones(), |_| Some(b"no report"));
    assert_eq!(garbage.without_report, Some(Zone::Fetch));
    let zones = Zones {
        fetch: exited(40),
        ..Zones::NONE
    };
    let status = ended(
        &begun(),
        &failed(Zone::Fetch, 40, EndedBy::Itself),
        &Findings::reported(zones, |_| None),
        at(134),
    );
    assert_eq!(summary(&status), "Failed False BuildFailed Stalled");
}

const fn failed(zone: Zone, code: i64, by: EndedBy) -> Ending {
    Ending::Failed { zone, code, by }
}

#[test]
fn a_failed_build_says_what_failed_and_where_to_look() {
    let mut findings = good();
    findings.export = read(None);
    findings.build.failure = read::<report::BuildReport>(Some(
        br#"{"failure": {"step": "compile", "pack": "python", "exitCode": 3, "message": "no \u001b[31msuch\u001b[0m version"}}"#,
    ))
    .failure;
    let status = ended(
        &begun(),
        &failed(Zone::Build, 51, EndedBy::Itself),
        &findings,
        at(134),
    );
    assert_eq!(summary(&status), "Failed False BuildFailed Stalled");
    assert_eq!(
        message(&status),
        "compile failed (buildpack python, exit code 3): one (the log: slipway logs build hello-abc)"
    );
    let failure = status.failure.unwrap();
    assert_eq!(
        (
            failure.step.as_str(),
            failure.pack.as_deref(),
            failure.exit_code,
            failure.last_lines
        ),
        ("compile", Some("python"), Some(3), vec!["one".to_owned()])
    );
    assert_eq!(status.image, None);
}

#[test]
fn a_failed_build_says_what_its_buildpack_said_and_not_that_something_stands_above() {
    let fails = |step: &str, code: i32, detail: &str, words: &str| {
        let mut findings = good();
        findings.export = read(None);
        let said = format!("buildpack python failed (exit code {code})");
        let report = json!({
            "packs": [{"name": "python", "detected": "Python", "digest": "sha256:1",
                "report": {"failure_detail": detail}}],
            "failure": {"step": step, "pack": "python", "exitCode": code, "message": said},
        });
        findings.build = read(Some(report.to_string().as_bytes()));
        let log = format!("-----> Python app detected\n{words}\n !\n !     {said}\n !");
        findings.last_lines = log.lines().map(str::to_owned).collect();
        let status = ended(
            &begun(),
            &failed(Zone::Build, 51, EndedBy::Itself),
            &findings,
            at(134),
        );
        message(&status)
            .replace(" (the log: slipway logs build hello-abc)", "")
            .replace(" failed (buildpack python, exit code ", " ")
    };
    assert_eq!(
        fails(
            "compile",
            1,
            "Python 3.9 is not available",
            " !     Python 3.9 is not available\n"
        ),
        "compile 1): Python 3.9 is not available"
    );
    assert_eq!(
        fails("compile", 1, "", "       npm error 401 Unauthorized"),
        "compile 1): npm error 401 Unauthorized"
    );
    assert_eq!(
        fails("compile", 1, "", ""),
        "compile 1): buildpack python failed (exit code 1)"
    );
    // A code of 128 or more says that a signal ended it: then the message is kept as well.
    assert_eq!(
        fails("compile", 137, "", "       Compiling"),
        "compile 137): buildpack python failed (exit code 137): Compiling"
    );
    assert_eq!(
        fails("detect", 1, "", "       no package.json"),
        "detect 1): buildpack python failed (exit code 1): no package.json"
    );
}

#[test]
fn a_zone_that_said_nothing_is_spoken_for() {
    let status = ended(
        &begun(),
        &failed(Zone::Export, 70, EndedBy::Itself),
        &Findings::default(),
        at(134),
    );
    assert_eq!(
        message(&status),
        "export failed (exit code 70): its program ended without a word (the log: slipway logs build hello-abc)"
    );
}

#[test]
fn want_of_memory_names_the_limit_and_whose_it_is() {
    let end = |build: &Build, zone| {
        let status = ended(build, &failed(zone, 137, EndedBy::Memory), &good(), at(134));
        assert_eq!(summary(&status), "Failed False OutOfMemory Stalled");
        status.failure.unwrap().message
    };
    assert_eq!(
        end(&begun(), Zone::Build),
        "killed for want of memory: the operator's limit is 2Gi; set spec.build.resources.limits.memory of the App"
    );
    assert_eq!(
        end(&begun(), Zone::Fetch),
        "killed for want of memory: the operator's limit is 2Gi; its administrator can raise it"
    );
    let mut own = begun();
    own.spec.resources = Some(Resources {
        limits: Some(ResourceAmounts {
            memory: Some(Quantity("512Mi".into())),
            cpu: None,
        }),
        requests: None,
    });
    assert_eq!(
        end(&own, Zone::Build),
        "killed for want of memory: the limit is 512Mi; raise spec.build.resources.limits.memory of the App"
    );
}

#[test]
fn each_other_end_has_its_words() {
    let findings = Findings::default();
    for (ending, is, says) in [
        (
            Ending::TimedOut { zone: Zone::Build },
            "Failed False BuildTimedOut Stalled",
            "build failed: took longer than its time limit of 30m:",
        ),
        (
            failed(Zone::Build, 124, EndedBy::Itself),
            "Failed False BuildTimedOut Stalled",
            "build failed (exit code 124)",
        ),
        (
            failed(Zone::Fetch, 75, EndedBy::Itself),
            "Failed False BuildInterrupted Stalled",
            "fetch failed (exit code 75)",
        ),
        (
            // The App's own code may end with this exit code.
            failed(Zone::Build, 75, EndedBy::Itself),
            "Failed False BuildFailed Stalled",
            "build failed (exit code 75)",
        ),
        (
            failed(Zone::Build, 137, EndedBy::Outside),
            "Failed False BuildInterrupted Stalled",
            "build failed (exit code 137): its container was killed from outside",
        ),
        (
            Ending::Lost { zone: Zone::Export },
            "Failed False BuildInterrupted Stalled",
            "export failed: its container or volume was taken",
        ),
        (
            Ending::Impossible {
                zone: Zone::Fetch,
                message: "no such image".into(),
            },
            "Failed False BuildFailed Stalled",
            "fetch failed: no such image",
        ),
        (
            Ending::Cancelled(Cancel::Requested),
            "Cancelled False BuildCancelled Stalled",
            "cancelled by the annotation",
        ),
        (
            Ending::Cancelled(Cancel::Superseded {
                by: "hello-def".into(),
            }),
            "Cancelled False BuildSuperseded Stalled",
            "cancelled: Build hello-def",
        ),
    ] {
        let status = ended(&begun(), &ending, &findings, at(134));
        assert_eq!(summary(&status), is);
        assert!(message(&status).starts_with(says), "{}", message(&status));
        assert_eq!(status.failure.is_some(), status.phase == BuildPhase::Failed);
    }
}

#[test]
fn a_build_that_was_held_up_until_its_time_ran_out_says_by_what() {
    let held_up = after(troubled(
        &begun(),
        "cannot pull the image; tried again".into(),
        at(200),
    ));
    let ending = Ending::TimedOut { zone: Zone::Build };
    let end = |build: &Build, zone: ZoneState| {
        let findings = Findings {
            zones: Some(Zones {
                build: zone,
                ..Zones::NONE
            }),
            ..Findings::default()
        };
        ended(build, &ending, &findings, at(2000))
    };
    // A Build that never began is tried again; one that ran has used its time.
    let status = end(&held_up, ZoneState::Absent);
    assert_eq!(summary(&status), "Failed False BuildInterrupted Stalled");
    assert_eq!(
        status.failure.unwrap().message,
        "took longer than its time limit of 30m, and was held up to the end: cannot pull the image; tried again"
    );
    for (build, zone) in [
        (&held_up, ZoneState::Running),
        (&begun(), ZoneState::Absent),
    ] {
        let status = end(build, zone);
        assert_eq!(summary(&status), "Failed False BuildTimedOut Stalled");
    }
}

#[test]
fn a_hostile_report_is_cut_to_size() {
    let mut findings = good();
    findings.build.processes = (0..1000)
        .map(|n| (format!("p{n}"), "x".repeat(1500)))
        .collect();
    findings
        .build
        .processes
        .insert("a".repeat(64), "too long a name".into());
    findings
        .build
        .processes
        .insert("0".into(), "y".repeat(20_000));
    if let Some(pack) = findings.build.packs.first_mut() {
        pack.report = (0..1000)
            .map(|n| (format!("k{n}"), "z".repeat(5000)))
            .collect();
    }
    let mut lines = vec!["first".to_owned()];
    lines.extend((0..49).map(|_| "<".repeat(401)));
    findings.last_lines = lines;
    let ending = failed(Zone::Build, 51, EndedBy::Itself);
    let status = ended(&begun(), &ending, &findings, at(134));
    let size = stored(&status);
    assert!(size < REPORTED + 16 * 1024, "{size}");
    let failure = status.failure.unwrap();
    assert!(failure.last_lines.len() > 10 && !failure.last_lines.contains(&"first".to_owned()));
    // The names of the packs have priority over times and reports.
    assert_eq!(status.packs.len(), 1);
}

#[test]
fn a_build_whose_result_cannot_be_kept_is_no_success() {
    let mut findings = good();
    findings.fetch.app_json = Some("<".repeat(60 * 1024));
    let status = ended(&begun(), &Ending::Exported, &findings, at(134));
    assert_eq!(summary(&status), "Failed False BuildFailed Stalled");
    assert_eq!(
        message(&status),
        "build failed: what the build reported cannot be kept: app.json and the commands of the process types have more than 256 KiB together (the log: slipway logs build hello-abc)"
    );
    assert_eq!((status.image, status.app_json), (None, None));
}

#[test]
fn what_the_api_server_refuses_is_said_without_what_was_reported() {
    let status = ended(&begun(), &Ending::Exported, &good(), at(134));
    let status = refused(&begun(), status, "no room", at(135));
    assert_eq!(summary(&status), "Failed False BuildFailed Stalled");
    assert!(
        message(&status)
            .starts_with("build failed: what the build reported cannot be kept: no room")
    );
    assert!(status.packs.is_empty() && status.processes.is_empty() && status.image.is_none());
    // Another kind of ending is not changed.
    let ending = Ending::Cancelled(Cancel::Superseded { by: "b".into() });
    let status = ended(&begun(), &ending, &good(), at(134));
    let said = message(&status).to_owned();
    let status = refused(&begun(), status, "no room", at(135));
    assert_eq!(summary(&status), "Cancelled False BuildSuperseded Stalled");
    assert_eq!(message(&status), said);
}

fn pack(text: &str, entries: usize) -> report::PackReport {
    report::PackReport {
        name: text.to_owned(),
        detected: text.to_owned(),
        digest: text.to_owned(),
        report: (0..entries)
            .map(|n| (format!("k{n}"), text.to_owned()))
            .collect(),
    }
}

/// The API server refuses a status that exceeds a bound of the schema, and the Build would never end.
#[test]
fn whatever_is_reported_is_within_the_bounds_of_the_schema() {
    let long = "é\u{1b}[1m".repeat(1000);
    let mut findings = good();
    let timing = report::Timing {
        step: long.clone(),
        milliseconds: u64::MAX,
    };
    for timings in [
        &mut findings.fetch.timings,
        &mut findings.build.timings,
        &mut findings.export.timings,
    ] {
        *timings = vec![timing.clone(); 65];
    }
    // One of each with the greatest length: together they would exceed their budget and leave no room for the rest.
    findings.build.packs = ["x"; 65].map(|text| pack(text, 1)).to_vec();
    findings.build.packs[0] = pack(&long, 65);
    findings.build.processes = (0..65)
        .map(|n| (format!("p{n}"), "x".repeat(if n == 0 { 8192 } else { 1 })))
        .collect();
    findings.build.failure = Some(report::Failure {
        step: long.clone(),
        pack: Some(long.clone()),
        exit_code: None,
        message: long.clone(),
    });
    findings.last_lines = vec![plain(&"é".repeat(1000)); 50];
    let held_up = after(troubled(&begun(), long.clone(), at(200)));
    for (build, ending) in [
        (begun(), Ending::Exported),
        (begun(), failed(Zone::Build, 1, EndedBy::Itself)),
        (held_up, Ending::TimedOut { zone: Zone::Build }),
    ] {
        let status = ended(&build, &ending, &findings, at(300));
        let crd = serde_json::to_value(Build::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        over(
            "status",
            &schema["properties"]["status"],
            &json!(status),
            &mut found,
        );
        assert!(found.is_empty(), "{ending:?}: {found:#?}");
        assert_eq!(
            (status.timings.len(), status.packs.len()),
            (3 * 65, 64),
            "{ending:?}"
        );
    }
}

/// The parts of `value` that exceed the bounds of its schema.
fn over(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let mut check = |bound: &str, size: usize| {
        if schema[bound]
            .as_u64()
            .is_some_and(|most| most < size as u64)
        {
            found.push(format!("{path}: {size} is over {bound} {}", schema[bound]));
        }
    };
    match value {
        Value::String(text) => check("maxLength", text.chars().count()),
        Value::Array(items) => {
            check("maxItems", items.len());
            for item in items {
                over(path, &schema["items"], item, found);
            }
        }
        Value::Object(fields) => {
            check("maxProperties", fields.len());
            for (name, field) in fields {
                let known = schema["properties"].get(name);
                let inner = known.unwrap_or(&schema["additionalProperties"]);
                over(&format!("{path}.{name}"), inner, field, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
