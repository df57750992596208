//! Answers of registries, and the errors that are made of them.

use crate::registry::{doing::Doing, error::RegistryError};
use reqwest::StatusCode;

#[test]
fn what_is_repaired_in_the_registry_may_pass() {
    let doing = Doing {
        registry: "r:5000",
        repository: "a",
        action: "write",
        what: "t",
    };
    let status = |code| doing.status(StatusCode::from_u16(code).unwrap(), b"");
    for (error, soon, later) in [
        (status(401), false, true),
        (status(403), false, true),
        (status(404), false, false),
        (status(413), false, false),
        (status(503), true, true),
        (doing.vanished("sha256:1"), true, true),
        (doing.unreachable("connection refused".into()), true, true),
        (doing.misled("on"), false, true),
        (doing.invalid("manifest", "x"), false, false),
        (doing.other_platform("linux/arm64"), false, false),
    ] {
        assert_eq!(
            (error.is_transient(), error.may_pass()),
            (soon, later),
            "{error}"
        );
    }
}

#[test]
fn an_answer_is_told_by_its_status_and_by_what_registries_say() {
    let doing = Doing {
        registry: "r:5000",
        repository: "a",
        action: "read",
        what: "t",
    };
    let envelope = |code: &str| {
        format!(r#"{{"errors":[{{"code":"{code}","message":"no\u001b[2J way","detail":{{}}}}]}}"#)
    };
    for (status, body, wanted, transient) in [
        (401, String::new(), "check account", false),
        (403, envelope("DENIED"), "read a (no way): check", false),
        (400, envelope("UNAUTHORIZED"), "check account", false),
        (404, String::new(), "has no a t", false),
        (400, envelope("MANIFEST_UNKNOWN"), "has no a t", false),
        (
            400,
            envelope("MANIFEST_INVALID"),
            "refused to read a: 400 Bad Request: no way",
            false,
        ),
        (429, String::new(), "429", true),
        (400, envelope("TOOMANYREQUESTS"), "no way", true),
        (
            502,
            "<html>internal page</html>".into(),
            "502 Bad Gateway",
            true,
        ),
    ] {
        let error = doing.status(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        let text = error.to_string();
        assert!(text.contains(wanted), "{status} {body}: {text}");
        assert!(!text.contains("internal page"), "{text}");
        let is = matches!(
            error,
            RegistryError::Refused {
                transient: true,
                ..
            }
        );
        assert_eq!(is, transient, "{text}");
    }
}
