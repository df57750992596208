//! One good and one bad object for each rule and each pattern of the schemas.
//!
//! The table is written to `tests/fixtures/cel/{good,bad}` (`UPDATE=1`), where the end-to-end tests find it to ask a real
//! API server the same questions: in a bad file, every document but the last is accepted, and the last one is refused
//! with the message in the file's first line.
#![allow(missing_docs, reason = "a test")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    reason = "a table of JSON, and what reads it, in a test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    sync::LazyLock,
};

use kube::core::cel::Validator;
use regex::Regex;
use serde_json::{Value, json};

/// What is expected of one rule.
struct Case {
    name: String,
    kind: &'static str,
    /// What is there already, for rules about changes.
    old: Option<Value>,
    good: Value,
    bad: Value,
    message: String,
}

fn digest(c: &str) -> String {
    format!("sha256:{}", c.repeat(64))
}

/// A whole object of a kind, to which each case adds something.
fn base(kind: &str) -> Value {
    let artifact = |c: &str| json!({"repository": "slipway/x", "digest": digest(c)});
    let app = json!({"name": "hello", "uid": "00000000-0000-0000-0000-000000000000"});
    let spec = match kind {
        "App" => json!({"source": {"git": {"url": "https://example.com/hello.git"}}}),
        "Revision" => json!({
            "app": app, "by": "Poll",
            "git": {"url": "https://example.com/hello.git", "commit": "a".repeat(40)},
        }),
        "Build" => json!({
            "app": app, "revision": "hello-1", "cause": "first build", "timeout": "30m",
            "source": {"git": {"url": "https://example.com/hello.git", "commit": "a".repeat(40)}},
            "stack": {
                "name": "standard", "stackName": "standard", "userId": 32767,
                "buildImage": artifact("a"), "runImage": artifact("b"),
            },
        }),
        "Release" => json!({
            "app": app, "number": 1, "cause": "first release", "inputs": "x", "renderer": 1,
            "revision": "hello-1", "revisionId": "aaaa", "configSecret": "hello-config-1", "port": 5000,
            "image": {"reference": format!("slipway/x@{}", digest("a"))},
            "processes": {"web": {"replicas": 1, "command": "serve"}},
            "deadlines": {"deploy": "5m", "stop": "30s"}, "podSecurity": "Restricted",
        }),
        "Stack" => json!({"buildImage": artifact("a"), "runImage": artifact("b")}),
        other => panic!("no base for {other}"),
    };
    let mut metadata = json!({"name": "hello"});
    if kind != "Stack" {
        metadata["namespace"] = json!("default");
    }
    json!({"apiVersion": "slipway.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// `patch` over `value`; null takes away.
fn merged(mut value: Value, patch: &Value) -> Value {
    match (&mut value, patch) {
        (Value::Object(object), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    object.remove(key);
                } else {
                    let inner = object.remove(key).unwrap_or(Value::Null);
                    object.insert(key.clone(), merged(inner, change));
                }
            }
            value
        }
        (_, change) => change.clone(),
    }
}

fn rule(name: &str, kind: &'static str, good: Value, bad: Value, message: &str) -> Case {
    Case {
        name: name.to_owned(),
        kind,
        old: None,
        good,
        bad,
        message: message.to_owned(),
    }
}

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn app(name: &str, good: Value, bad: Value, message: &str) -> Case {
    rule(name, "App", spec(good), spec(bad), message)
}

fn storage(entry: Value) -> Value {
    let mut entry = merged(
        json!({"name": "data", "mountPath": "/data", "claimTemplate": {"size": "1Gi"}}),
        &entry,
    );
    if entry.get("claim").is_some() {
        entry = merged(entry, &json!({"claimTemplate": null}));
    }
    json!({ "storage": [entry] })
}

fn git(source: Value) -> Value {
    json!({"source": {"git": source}})
}

fn check(check: Value) -> Value {
    json!({"checks": {"web": [check]}})
}

const ENV: &str = "an environment variable has one of value and valueFrom";
const VALUE_FROM: &str = "valueFrom is one of secretKeyRef and configMapKeyRef";
const ONE_KIND: &str =
    "a check is one of: a request (path, content, httpHeaders, scheme), command, listening, uptime";
const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
const UID: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const UPTIME: &str = "uptime is a startup check";
const DEPLOY: &str = "deploy is between 1s and 24h";
const STOP: &str = "stop is at most 1h";

fn rules() -> Vec<Case> {
    let key = json!({"name": "db", "key": "password"});
    let both_keys = json!({"secretKeyRef": key, "configMapKeyRef": key});
    let one_key = json!({"secretKeyRef": key});
    let push = json!({
        "commit": "a".repeat(40), "ref": "main",
        "artifact": {"repository": "slipway/team/hello", "digest": digest("d")},
    });
    let mut cases = vec![
        rule(
            "app-name",
            "App",
            json!({"metadata": {"name": "a-name-that-is-just-as-long-as-it-may-be"}}),
            json!({"metadata": {"name": "a-name-that-is-one-longer-than-it-may-be0"}}),
            "an App's name has at most 40 characters",
        ),
        rule(
            "app-name-begin",
            "App",
            json!({"metadata": {"name": "a1"}}),
            json!({"metadata": {"name": "1a"}}),
            "an App's name has at most 40 characters",
        ),
        app(
            "source-one",
            json!({"source": {"git": null, "image": {"reference": "nginx:1"}}}),
            json!({"source": {"image": {"reference": "nginx:1"}}}),
            "a source is one of git and image",
        ),
        app(
            "git-url",
            git(json!({"url": "git://10.0.0.1:9418/x.git"})),
            git(json!({"url": "git@example.com:x.git"})),
            "SSH addresses are not supported yet",
        ),
        app(
            "git-url-credentials",
            git(json!({"url": "https://example.com/a@b.git"})),
            git(json!({"url": "https://me:secret@example.com/x.git"})),
            "put those into a Secret and name it in secretRef",
        ),
        app(
            "git-ref",
            git(json!({"ref": "bugfix/#31-löschen"})),
            git(json!({"ref": "-o"})),
            "not a name of a branch, tag or commit",
        ),
        app(
            "git-ref-dots",
            git(json!({"ref": "v1.2.3"})),
            git(json!({"ref": "a..b"})),
            "not a name of a branch, tag or commit",
        ),
        app(
            "git-ref-part",
            git(json!({"ref": "feature/some-thing_1.2+x@y"})),
            git(json!({"ref": "a/.b"})),
            "not a name of a branch, tag or commit",
        ),
        app(
            "git-ref-backslash",
            git(json!({"ref": "refs/tags/v1"})),
            git(json!({"ref": "a\\b"})),
            "not a name of a branch, tag or commit",
        ),
        app(
            "git-sub-path",
            git(json!({"subPath": "services/web"})),
            git(json!({"subPath": "../other"})),
            "subPath is a relative path without '..' and without empty parts",
        ),
        app(
            "git-interval",
            git(json!({"interval": "10s"})),
            git(json!({"interval": "9s"})),
            "interval is at least 10s",
        ),
        app(
            "image-reference",
            json!({"source": {"git": null, "image": {"reference": format!("registry.example.com:5000/team/app:1.2@{}", digest("a"))}}}),
            json!({"source": {"git": null, "image": {"reference": "registry.example.com/Team/App"}}}),
            "not an image reference such as registry.example.com/team/app:1.2",
        ),
        app(
            "buildpacks",
            json!({"build": {"buildpacks": ["python", "https://example.com/pack.git#v1"]}}),
            json!({"build": {"buildpacks": ["https://me:secret@example.com/pack.git"]}}),
            "a buildpack is the name of one of the Stack's",
        ),
        app(
            "build-timeout",
            json!({"build": {"timeout": "24h"}}),
            json!({"build": {"timeout": "25h"}}),
            "timeout is between 1s and 24h",
        ),
        app(
            "env-value",
            json!({"env": [{"name": "A", "value": ""}]}),
            json!({"env": [{"name": "A"}]}),
            ENV,
        ),
        app(
            "env-value-from",
            json!({"env": [{"name": "A", "valueFrom": one_key}]}),
            json!({"env": [{"name": "A", "valueFrom": both_keys}]}),
            VALUE_FROM,
        ),
        app(
            "env-build",
            json!({"env": [{"name": "A", "valueFrom": one_key, "build": true}]}),
            json!({"env": [{"name": "A", "value": "x", "build": true}]}),
            "build goes with valueFrom",
        ),
        app(
            "env-from",
            json!({"envFrom": [{"secretRef": {"name": "a"}}]}),
            json!({"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]}),
            "an envFrom entry is one of secretRef and configMapRef",
        ),
        app(
            "build-env-value",
            json!({"build": {"env": [{"name": "A", "value": "x"}]}}),
            json!({"build": {"env": [{"name": "A", "value": "x", "valueFrom": one_key}]}}),
            ENV,
        ),
        app(
            "build-env-value-from",
            json!({"build": {"env": [{"name": "A", "valueFrom": one_key}]}}),
            json!({"build": {"env": [{"name": "A", "valueFrom": {}}]}}),
            VALUE_FROM,
        ),
        app(
            "process-name",
            json!({"processes": {"w".repeat(63): {}, "w2": {}}}),
            json!({"processes": {"Web": {}}}),
            "a process' name has at most 63 characters",
        ),
        app(
            "check-process-name",
            json!({"checks": {"w".repeat(63): [], "w2": []}}),
            json!({"checks": {"w".repeat(64): []}}),
            "checks stand under a process' name",
        ),
        app(
            "check-kind",
            check(json!({"type": "startup", "path": "/up", "content": "ok"})),
            check(json!({"type": "startup", "path": "/up", "command": ["true"]})),
            ONE_KIND,
        ),
        app(
            "check-uptime",
            check(json!({"type": "startup", "uptime": 5})),
            check(json!({"type": "liveness", "uptime": 5})),
            UPTIME,
        ),
        app(
            "storage-mount-twice",
            json!({"storage": [{"name": "a", "mountPath": "/a", "claim": {"name": "x"}}, {"name": "b", "mountPath": "/b", "claim": {"name": "x"}}]}),
            json!({"storage": [{"name": "a", "mountPath": "/a", "claim": {"name": "x"}}, {"name": "b", "mountPath": "/a", "claim": {"name": "other"}}]}),
            "two storage entries have the same mountPath",
        ),
        app(
            "storage-claim",
            storage(json!({"claim": {"name": "x"}})),
            json!({"storage": [{"name": "data", "mountPath": "/data"}]}),
            "a storage entry has one of claim and claimTemplate",
        ),
        app(
            "storage-mount-path",
            storage(json!({"mountPath": "/app/data"})),
            storage(json!({"mountPath": "/app"})),
            "mountPath is absolute",
        ),
        app(
            "storage-sub-path",
            storage(json!({"subPath": "a/b"})),
            storage(json!({"subPath": "a/../b"})),
            "subPath is a relative path without '..'",
        ),
        app(
            "deadline-deploy",
            json!({"deadlines": {"deploy": "90s"}}),
            json!({"deadlines": {"deploy": "0s"}}),
            DEPLOY,
        ),
        app(
            "deadline-stop",
            json!({"deadlines": {"stop": "0s"}}),
            json!({"deadlines": {"stop": "61m"}}),
            STOP,
        ),
        Case {
            old: Some(spec(storage(
                json!({"claimTemplate": {"storageClassName": "slow"}}),
            ))),
            ..app(
                "storage-class",
                storage(json!({"claimTemplate": {"storageClassName": "slow", "size": "2Gi"}})),
                storage(json!({"claimTemplate": {"storageClassName": "fast"}})),
                "a claim's storage class cannot change",
            )
        },
        Case {
            old: Some(spec(storage(json!({})))),
            ..app(
                "storage-access-mode",
                storage(json!({"claimTemplate": {"accessMode": "ReadWriteOnce"}})),
                storage(json!({"claimTemplate": {"accessMode": "ReadWriteMany"}})),
                "a claim's access mode cannot change",
            )
        },
        rule(
            "revision-source-one",
            "Revision",
            json!({}),
            spec(json!({"image": {"reference": "a", "resolved": "b"}})),
            "a Revision is one of git, image and push",
        ),
        rule(
            "revision-push",
            "Revision",
            spec(
                json!({"git": null, "push": push, "by": "Push", "number": 7, "pushedBy": "alice"}),
            ),
            spec(json!({"git": null, "push": push, "by": "Push"})),
            "a Revision that was pushed says so",
        ),
        rule(
            "build-source-one",
            "Build",
            spec(json!({"source": {"subPath": "web"}})),
            spec(json!({"source": {"git": null}})),
            "a Build's source is one of git and push",
        ),
        rule(
            "build-source-push",
            "Build",
            spec(json!({"source": {"git": null, "push": push}})),
            spec(json!({"source": {"push": push}})),
            "a Build's source is one of git and push",
        ),
        rule(
            "build-record-env-value",
            "Build",
            spec(json!({"env": [{"name": "A", "value": "x"}]})),
            spec(json!({"env": [{"name": "A"}]})),
            ENV,
        ),
        rule(
            "build-record-env-value-from",
            "Build",
            spec(json!({"env": [{"name": "A", "valueFrom": one_key}]})),
            spec(json!({"env": [{"name": "A", "valueFrom": both_keys}]})),
            VALUE_FROM,
        ),
        rule(
            "release-deadline-deploy",
            "Release",
            spec(json!({"deadlines": {"deploy": "24h"}})),
            spec(json!({"deadlines": {"deploy": "24h1s"}})),
            DEPLOY,
        ),
        rule(
            "release-deadline-stop",
            "Release",
            spec(json!({"deadlines": {"stop": "1h"}})),
            spec(json!({"deadlines": {"stop": "2h"}})),
            STOP,
        ),
    ];
    let checks = |check: Value| spec(json!({"processes": {"web": {"checks": [check]}}}));
    cases.push(rule(
        "release-check-kind",
        "Release",
        checks(json!({"type": "readiness", "listening": true})),
        checks(json!({"type": "readiness", "listening": true, "scheme": "http"})),
        ONE_KIND,
    ));
    cases.push(rule(
        "release-check-uptime",
        "Release",
        checks(json!({"type": "startup", "uptime": 1})),
        checks(json!({"type": "readiness", "uptime": 1})),
        UPTIME,
    ));
    for (kind, change) in [
        ("Revision", json!({"by": "Spec"})),
        ("Build", json!({"cause": "another"})),
        ("Release", json!({"cause": "another"})),
    ] {
        cases.push(Case {
            old: Some(json!({})),
            ..rule(
                &format!("{}-immutable", kind.to_lowercase()),
                kind,
                json!({"metadata": {"labels": {"a": "b"}}}),
                spec(change),
                &format!("a {kind} never changes"),
            )
        });
    }
    cases
}

/// Patterns, each by a value that matches and one that does not.
fn patterns() -> Vec<(Case, &'static str)> {
    let case = |name: &str, kind, good: Value, bad: Value, pattern: &'static str| {
        let message = format!("should match '{pattern}'");
        (rule(name, kind, spec(good), spec(bad), &message), pattern)
    };
    let resources =
        |cpu: &str| json!({"processes": {"web": {"resources": {"limits": {"cpu": cpu}}}}});
    let header = |name: &str, value: &str| {
        check(json!({"type": "startup", "httpHeaders": [{"name": name, "value": value}]}))
    };
    let pack = |name: &str| json!({"packs": [{"name": name, "repository": "slipway/slipway.dev/packs/x", "digest": digest("a")}]});
    vec![
        case(
            "pattern-env-name",
            "App",
            json!({"env": [{"name": "_A1", "value": "x"}]}),
            json!({"env": [{"name": "1A", "value": "x"}]}),
            "^[a-zA-Z_][a-zA-Z0-9_]*$",
        ),
        case(
            "pattern-object-name",
            "App",
            json!({"envFrom": [{"secretRef": {"name": "my-secret.v1"}}]}),
            json!({"envFrom": [{"secretRef": {"name": "my secret"}}]}),
            OBJECT_NAME,
        ),
        case(
            "pattern-key-name",
            "App",
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "a_B.c"}}}]}),
            json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "Db", "key": "a"}}}]}),
            OBJECT_NAME,
        ),
        case(
            "pattern-claim-name",
            "App",
            storage(json!({"claim": {"name": "data"}})),
            storage(json!({"claim": {"name": "../data"}})),
            OBJECT_NAME,
        ),
        case(
            "pattern-stack-name",
            "App",
            json!({"build": {"stack": "standard"}}),
            json!({"build": {"stack": "-standard"}}),
            OBJECT_NAME,
        ),
        case(
            "pattern-app-name",
            "Build",
            json!({"app": {"name": "a-1"}}),
            json!({"app": {"name": "../other"}}),
            "^[a-z]([-a-z0-9]*[a-z0-9])?$",
        ),
        case(
            "pattern-app-uid",
            "Revision",
            json!({"app": {"uid": "6a0c5b5e-9e3f-4d39-9f0e-1b6f0b7a2c11"}}),
            json!({"app": {"uid": "a/../b"}}),
            UID,
        ),
        case(
            "pattern-repository",
            "Build",
            json!({"stack": {"runImage": {"repository": "slipway/slipway.dev/stacks/debian--13_x/run"}}}),
            json!({"stack": {"runImage": {"repository": "slipway/team/../other/app"}}}),
            "^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
        ),
        case(
            "pattern-revision-name",
            "Build",
            json!({"revision": "hello-0123456789"}),
            json!({"revision": "../../apps/hello"}),
            OBJECT_NAME,
        ),
        case(
            "pattern-build-stack-name",
            "Build",
            json!({"stack": {"name": "heroku.24"}}),
            json!({"stack": {"name": "a/b"}}),
            OBJECT_NAME,
        ),
        case(
            "pattern-release-build",
            "Release",
            json!({"build": "hello-0123456789"}),
            json!({"build": "hello/status"}),
            OBJECT_NAME,
        ),
        case(
            "pattern-release-config",
            "Release",
            json!({"configSecret": "hello-config-0123456789"}),
            json!({"configSecret": "Hello"}),
            OBJECT_NAME,
        ),
        case(
            "pattern-release-claim",
            "Release",
            json!({"volumes": [{"name": "data", "claim": "hello-data", "mountPath": "/data"}]}),
            json!({"volumes": [{"name": "data", "claim": "a/b", "mountPath": "/data"}]}),
            OBJECT_NAME,
        ),
        case(
            "pattern-quantity",
            "App",
            resources("500m"),
            resources("half"),
            r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$",
        ),
        case(
            "pattern-duration",
            "App",
            json!({"deadlines": {"deploy": "1h30m5s"}}),
            json!({"deadlines": {"deploy": "5 minutes"}}),
            "^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$",
        ),
        case(
            "pattern-header-name",
            "App",
            header("X-Forwarded-Proto", "https"),
            header("X_Api_Key", "secret"),
            "^[-A-Za-z0-9]+$",
        ),
        case(
            "pattern-header-value",
            "App",
            header("Host", "example.com"),
            header("Host", "a\r\nb"),
            r"^[^\r\n]*$",
        ),
        case(
            "pattern-check-path",
            "App",
            check(json!({"type": "startup", "path": "/up"})),
            check(json!({"type": "startup", "path": "up"})),
            "^/",
        ),
        case(
            "pattern-storage-name",
            "App",
            storage(json!({"name": "a-1"})),
            storage(json!({"name": "-a"})),
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        ),
        case(
            "pattern-commit",
            "Revision",
            json!({"git": {"commit": "b".repeat(64)}}),
            json!({"git": {"commit": "abc"}}),
            "^([a-f0-9]{40}|[a-f0-9]{64})$",
        ),
        case(
            "pattern-digest",
            "Stack",
            json!({"runImage": {"digest": digest("c")}}),
            json!({"runImage": {"digest": "sha256:c"}}),
            "^sha256:[a-f0-9]{64}$",
        ),
        case(
            "pattern-pack-name",
            "Stack",
            pack("python3"),
            pack("Python"),
            "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        ),
    ]
}

static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let crds = slipway_crds::all().into_iter();
    crds.map(|crd| {
        let version = &crd.spec.versions[0];
        let schema = version
            .schema
            .as_ref()
            .and_then(|s| s.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema.expect("a schema")).expect("plain data");
        (crd.spec.names.kind, schema)
    })
    .collect()
});

fn schema(kind: &str) -> &'static Value {
    &SCHEMAS[kind]
}

fn object(case: &Case, patch: &Value) -> Value {
    merged(base(case.kind), patch)
}

/// What CEL says of `patch`: messages.
fn refused(case: &Case, patch: &Value) -> Vec<String> {
    let old = case.old.as_ref().map(|old| object(case, old));
    match Validator::new().validate(schema(case.kind), &object(case, patch), old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|e| e.message).collect(),
    }
}

/// Every value in `object` whose schema has a pattern, with it.
fn with_patterns(schema: &Value, object: &Value, found: &mut Vec<(String, String)>) {
    if let (Some(pattern), Some(text)) = (
        schema.get("pattern").and_then(Value::as_str),
        object.as_str(),
    ) {
        found.push((pattern.to_owned(), text.to_owned()));
    }
    for (key, inner) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        with_patterns(inner, &object[key], found);
    }
    if let Some(inner) = schema.get("items") {
        object
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|o| with_patterns(inner, o, found));
    }
    if let Some(inner) = schema.get("additionalProperties") {
        object
            .as_object()
            .into_iter()
            .flatten()
            .for_each(|(_, o)| with_patterns(inner, o, found));
    }
}

fn unmatched(case: &Case, patch: &Value) -> Vec<String> {
    let mut found = Vec::new();
    with_patterns(schema(case.kind), &object(case, patch), &mut found);
    found
        .into_iter()
        .filter(|(pattern, text)| !Regex::new(pattern).expect("a pattern").is_match(text))
        .map(|(pattern, _)| pattern)
        .collect()
}

#[test]
fn good_objects_pass_and_bad_ones_are_refused_with_the_message() {
    for case in rules() {
        assert_eq!(
            refused(&case, &case.good),
            [""; 0],
            "{}: the good one",
            case.name
        );
        assert_eq!(
            unmatched(&case, &case.good),
            [""; 0],
            "{}: the good one",
            case.name
        );
        let messages = refused(&case, &case.bad);
        assert!(
            messages.iter().any(|m| m.contains(&case.message)),
            "{}: the bad one gives {messages:?}",
            case.name
        );
    }
}

#[test]
fn patterns_tell_good_from_bad() {
    for (case, pattern) in patterns() {
        assert_eq!(
            unmatched(&case, &case.good),
            [""; 0],
            "{}: the good one",
            case.name
        );
        assert_eq!(
            refused(&case, &case.good),
            [""; 0],
            "{}: the good one",
            case.name
        );
        assert_eq!(
            unmatched(&case, &case.bad),
            [pattern],
            "{}: the bad one",
            case.name
        );
    }
}

#[test]
fn every_rule_and_every_pattern_has_its_case() {
    fn walk(schema: &Value, rules: &mut BTreeSet<String>, patterns: &mut BTreeSet<String>) {
        for rule in schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            rules.insert(
                rule["message"]
                    .as_str()
                    .expect("every rule has a message")
                    .to_owned(),
            );
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            patterns.insert(pattern.to_owned());
        }
        for inner in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            walk(inner.1, rules, patterns);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                walk(inner, rules, patterns);
            }
        }
    }
    let (rule_cases, pattern_cases) = (rules(), patterns());
    let mut missing = Vec::new();
    for kind in ["App", "Revision", "Build", "Release", "Stack"] {
        let (mut rules, mut patterns) = (BTreeSet::new(), BTreeSet::new());
        walk(schema(kind), &mut rules, &mut patterns);
        missing.extend(
            rules
                .into_iter()
                .filter(|message| {
                    !rule_cases
                        .iter()
                        .any(|c| c.kind == kind && message.contains(&c.message))
                })
                .map(|message| format!("{kind}: {message}")),
        );
        // The same pattern elsewhere is the same pattern.
        missing.extend(
            patterns
                .into_iter()
                .filter(|p| !pattern_cases.iter().any(|(_, known)| known == p)),
        );
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_files_for_the_real_api_server_are_what_the_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cel");
    let update = std::env::var_os("UPDATE").is_some();
    let cases: Vec<Case> = rules()
        .into_iter()
        .chain(patterns().into_iter().map(|(case, _)| case))
        .collect();
    let mut wanted = BTreeSet::new();
    for case in &cases {
        for (side, patch) in [("good", &case.good), ("bad", &case.bad)] {
            let mut text = String::new();
            if side == "bad" {
                writeln!(text, "# {}", case.message).unwrap();
            }
            for patch in case.old.iter().chain([patch]) {
                write!(
                    text,
                    "---\n{}",
                    serde_yaml::to_string(&object(case, patch)).unwrap()
                )
                .unwrap();
            }
            let file = folder.join(side).join(format!("{}.yaml", case.name));
            if update {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, &text).unwrap();
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                found,
                text,
                "{} is out of date: UPDATE=1 cargo test -p slipway-crds",
                file.display()
            );
            wanted.insert(file);
        }
    }
    for side in ["good", "bad"] {
        for entry in fs::read_dir(folder.join(side)).unwrap() {
            let file = entry.unwrap().path();
            assert!(
                wanted.contains(&file),
                "{} belongs to no case",
                file.display()
            );
        }
    }
}
