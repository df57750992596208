//! Apps, and what their authors are told.

use crate::domain::{
    app::{Ceilings, Defaults, GitTarget, ValidApp, ValidSource},
    repository::Repositories,
};
use serde_json::{Value, json};
use slipway_crds::v1alpha1::{App, Quantity};
use std::time::Duration;

fn defaults() -> Defaults {
    Defaults {
        stack: "standard".into(),
        timeout: Duration::from_mins(30),
        interval: Duration::from_mins(1),
        protocols: vec!["https".into(), "http".into()],
        repositories: Repositories::new("slipway", ["registry.local:5000"]),
        ceilings: Ceilings::default(),
    }
}

#[test]
fn ceilings_cut_and_say_so() {
    let quantity = |text: &str| Some(Quantity(text.into()));
    let defaults = Defaults {
        ceilings: Ceilings {
            timeout: Some("2h".parse().unwrap()),
            cpus: quantity("8"),
            memory: quantity("16Gi"),
            history: Some(50),
        },
        ..defaults()
    };
    let valid = |extra| ValidApp::new(&app(&git(extra)), &defaults).unwrap();
    let modest = valid(json!({"historyLimit": 50, "build": {
        "timeout": "2h", "resources": {"limits": {"cpu": "8000m", "memory": "16Gi"}}}}));
    assert_eq!((modest.cut.len(), modest.history_limit), (0, 50));
    let greedy = valid(json!({"historyLimit": 100, "build": {
        "timeout": "24h", "resources": {"limits": {"cpu": "64", "memory": "1Ti"}}}}));
    assert_eq!(greedy.history_limit, 50);
    assert_eq!(
        greedy.cut,
        [
            "spec.build.timeout is 24h, and no build may take longer than 2h here",
            "spec.build.resources.limits.cpu is 64, and no build gets more than 8 here",
            "spec.build.resources.limits.memory is 1Ti, and no build gets more than 16Gi here",
            "spec.historyLimit is 100, and no more than 50 are kept here",
        ]
    );
    // A Build's name is a hash of what the spec says, so an administrator's maximum makes no new Build.
    assert_eq!(greedy.build.own_timeout, Some("24h".parse().unwrap()));
}

#[test]
fn a_build_with_nothing_is_refused() {
    let judged = |what: &str, limit: &str| {
        let spec = git(json!({"build": {"resources": {"limits": {what: limit}}}}));
        ValidApp::new(&app(&spec), &defaults()).map_err(|invalid| invalid.to_string())
    };
    for (what, nothing, said) in [
        ("cpu", "0", "no build can run with 0:"),
        ("cpu", "0m", "no build can run with 0m:"),
        ("memory", "0", "no build can run with 0:"),
        ("memory", "0Gi", "no build can run with 0Gi:"),
        ("memory", "0.4", "no build can run with 0.4:"),
        ("memory", "5Mi", "no build can run with 5Mi:"),
        // Thousandths of a byte.
        (
            "memory",
            "512m",
            "no build can run with 512m: m is a thousandth of a byte, was 512Mi meant?",
        ),
    ] {
        let said = format!("spec.build.resources.limits.{what}: {said}");
        let invalid = judged(what, nothing).unwrap_err();
        assert!(invalid.contains(&said), "{invalid}");
    }
    for (what, enough) in [("cpu", "1n"), ("memory", "6Mi"), ("memory", "6291456")] {
        judged(what, enough).unwrap();
    }
}

fn app(spec: &Value) -> App {
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
        "metadata": {"name": "hello", "namespace": "team", "uid": "u-1"},
        "spec": spec,
    }))
    .unwrap()
}

fn git(extra: Value) -> Value {
    let mut spec = json!({"source": {"git": {"url": "https://example.com/hello.git"}}});
    if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), extra) {
        spec.extend(extra);
    }
    spec
}

#[test]
fn a_small_app_has_every_default() {
    let valid = ValidApp::new(&app(&git(json!({}))), &defaults()).unwrap();
    let ValidSource::Git(source) = valid.source else {
        panic!("a git source")
    };
    assert_eq!(source.target, GitTarget::Default);
    assert_eq!(source.interval, Duration::from_mins(1));
    assert_eq!(
        (valid.build.stack.as_str(), valid.build.timeout),
        ("standard", Duration::from_mins(30))
    );
    assert_eq!(valid.deadlines.deploy.unwrap().as_secs(), 300);
    assert_eq!(valid.deadlines.stop.unwrap().as_secs(), 30);
    assert_eq!((valid.history_limit, valid.suspend), (10, false));
}

#[test]
fn refs_are_told_apart() {
    for (name, wanted) in [
        ("main", GitTarget::Named("main".into())),
        ("abc1234", GitTarget::Named("abc1234".into())),
        (&"AB".repeat(20), GitTarget::Commit("ab".repeat(20))),
    ] {
        let spec = json!({"source": {"git": {"url": "https://example.com/x.git", "ref": name}}});
        let valid = ValidApp::new(&app(&spec), &defaults()).unwrap();
        let ValidSource::Git(source) = valid.source else {
            panic!("a git source")
        };
        assert_eq!(source.target, wanted);
    }
}

#[test]
fn builds_see_literals_marked_references_and_their_own_which_win() {
    let spec = git(json!({
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "2"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}, "build": true},
        ],
        "build": {"env": [{"name": "B", "value": "3"}]},
    }));
    let build = ValidApp::new(&app(&spec), &defaults()).unwrap().build;
    let seen: Vec<_> = build
        .env
        .iter()
        .map(|v| (v.name.as_str(), v.value.as_deref()))
        .collect();
    assert_eq!(seen, [("A", Some("1")), ("B", Some("3")), ("D", None)]);
    assert_eq!(build.own_env.len(), 1);
}

#[test]
fn images_of_other_namespaces_are_refused() {
    for (reference, passes) in [
        ("registry.local:5000/slipway/team/hello:1", true),
        ("registry.local:5000/slipway/other/hello:1", false),
        ("registry.local:5000/slipway/team", false),
        (
            "registry.local:5000/slipway/slipway.dev/stacks/standard/run:1",
            false,
        ),
        ("registry.local:5000/elsewhere/x:1", true),
        ("ghcr.io/slipway/other/x:1", true),
    ] {
        let spec = json!({"source": {"image": {"reference": reference}}});
        let result = ValidApp::new(&app(&spec), &defaults());
        assert_eq!(result.is_ok(), passes, "{reference}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("below slipway/team/"), "{error}");
        }
    }
}

#[test]
fn what_cannot_be_carried_out_is_said_all_at_once() {
    for (spec, wanted) in [
        (
            json!({"source": {"git": {"url": "git@example.com:x.git"}}}),
            vec!["SSH"],
        ),
        (
            json!({"source": {"git": {"url": "git://example.com/x.git"}}}),
            vec!["does not allow git://", "https, http"],
        ),
        (
            json!({"source": {"git": {"url": "https://me:hunter2@example.com/x.git"}}}),
            vec!["secretRef"],
        ),
        (
            git(json!({"env": [{"name": "A", "value": "x\0y"}]})),
            vec!["spec.env.A: has a NUL byte"],
        ),
        (
            git(json!({"env": [{"name": "A", "value": "x".repeat(131_070)}]})),
            vec!["spec.env.A: has 131070 bytes", "at most 131069"],
        ),
        (
            git(json!({
                "processes": {"web": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}}},
                "storage": [{"name": "d", "mountPath": "/slipway/x", "claim": {"name": "c"}}],
            })),
            vec![
                "spec.processes.web.resources.requests.cpu: 2 is more than the limit, 500m",
                "/slipway is not a place",
            ],
        ),
        (
            git(json!({"storage": [{"name": "d", "mountPath": "/app/", "claim": {"name": "c"}}]})),
            vec!["hide the App's own files"],
        ),
    ] {
        let message = ValidApp::new(&app(&spec), &defaults())
            .unwrap_err()
            .to_string();
        for wanted in wanted {
            assert!(message.contains(wanted), "{spec}: {message}");
        }
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_volume_hides_nothing_that_a_process_needs() {
    for (path, of_built, of_image) in [
        ("/app/.heroku", true, false),
        ("/app/.heroku/python", true, false),
        ("/app/.profile.d/", true, false),
        ("/app/./.heroku", true, false),
        ("/app//.heroku", true, false),
        ("/app/.heroku-data", false, false),
        ("/app/data", false, false),
        ("/etc", true, true),
        ("/etc/nginx/conf.d", false, false),
        ("//usr/", true, true),
        ("/usr/share/nginx/html", false, false),
        ("/usr/local/bin", true, true),
        ("/lib64", true, true),
        ("/bin", true, true),
        ("/proc", true, true),
        ("/proc/x", true, true),
        ("/dev/shm", true, true),
        ("/slipway/bin", true, true),
        ("/app", true, true),
        ("/app/.", true, true),
        ("/var/lib/postgresql", false, false),
        ("/data", false, false),
        ("/tmp", false, false),
    ] {
        let image = json!({"image": {"reference": "ghcr.io/x/y:1"}});
        let git = json!({"git": {"url": "https://example.com/x.git"}});
        for (source, refused) in [(git, of_built), (image, of_image)] {
            let storage = json!([{"name": "d", "mountPath": path, "claim": {"name": "c"}}]);
            let spec = json!({"source": source, "storage": storage});
            let result = ValidApp::new(&app(&spec), &defaults());
            assert_eq!(result.is_err(), refused, "{path}: {result:?}");
            if let Err(error) = result {
                let error = error.to_string();
                assert!(error.contains("would hide"), "{error}");
            }
        }
    }
}

#[test]
fn references_and_hosts_are_what_git_takes() {
    for (url, name, wanted) in [
        ("https://example.com/x.git", "bugfix/#31-löschen", None),
        ("https://[::1]:8443/x.git", "main", None),
        ("https://exämple.com/x.git", "main", None),
        (
            "https://example.com/x.git",
            "a..b",
            Some("spec.source.git.ref: is no name of a branch"),
        ),
        (
            "https://a=b/x.git",
            "main",
            Some("spec.source.git.url: has no name or address of a server"),
        ),
        (
            "https:///x.git",
            "main",
            Some("spec.source.git.url: has no name"),
        ),
        (
            "https://a\"b/x.git",
            "main",
            Some("spec.source.git.url: has no name"),
        ),
    ] {
        let spec = json!({"source": {"git": {"url": url, "ref": name}}});
        let error = ValidApp::new(&app(&spec), &defaults())
            .err()
            .map(|e| e.to_string());
        match (wanted, error) {
            (None, None) => {}
            (Some(wanted), Some(error)) => assert!(error.contains(wanted), "{error}"),
            (_, error) => panic!("{url} {name}: {error:?}"),
        }
    }
}

#[test]
fn a_claim_that_one_node_may_mount_is_marked() {
    let spec = git(json!({"storage": [
        {"name": "a", "mountPath": "/a", "claimTemplate": {"size": "1Gi"}},
        {"name": "b", "mountPath": "/b", "claimTemplate": {"size": "1Gi", "accessMode": "ReadWriteMany"}},
        {"name": "c", "mountPath": "/c", "claim": {"name": "mine"}},
    ]}));
    let volumes = ValidApp::new(&app(&spec), &defaults()).unwrap().volumes;
    let seen: Vec<_> = volumes
        .iter()
        .map(|v| (v.claim.as_str(), v.single_node))
        .collect();
    assert_eq!(
        seen,
        [("hello-a", true), ("hello-b", false), ("mine", true)]
    );
}
