use crate::logs::front_proxy::{FrontProxy, unescaped};
use http::{HeaderMap, HeaderName, HeaderValue};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::collections::BTreeMap;

fn certificate(name: &str) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn data(allowed: &str) -> BTreeMap<String, String> {
    [
        ("requestheader-client-ca-file", "PEM"),
        ("requestheader-allowed-names", allowed),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        (
            "requestheader-extra-headers-prefix",
            r#"["X-Remote-Extra-"]"#,
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_user_is_whom_the_front_proxy_names() {
    let proxy = FrontProxy::from_data(&data(r#"["front-proxy"]"#)).unwrap();
    let user = proxy
        .user(
            &certificate("front-proxy"),
            &headers(&[
                ("X-Remote-User", "Jürgen"),
                ("X-Remote-Uid", "7"),
                ("X-Remote-Group", "開発"),
                ("X-Remote-Group", "system:authenticated"),
                ("X-Remote-Extra-Example.com%2Fscope", "a"),
            ]),
        )
        .unwrap();
    assert_eq!(
        (user.name.as_str(), user.uid.as_deref()),
        ("Jürgen", Some("7"))
    );
    assert_eq!(user.groups, ["開発", "system:authenticated"]);
    assert_eq!(user.extra["example.com/scope"], ["a"]);
}

#[test]
fn nobody_else_and_nobody_unnamed_is_believed() {
    let proxy = FrontProxy::from_data(&data(r#"["front-proxy"]"#)).unwrap();
    let jane = headers(&[("X-Remote-User", "jane")]);
    for (name, headers, said) in [
        ("somebody", jane.clone(), "is not the front proxy's"),
        ("front-proxy", HeaderMap::new(), "does not say for whom"),
        (
            "front-proxy",
            headers(&[("X-Remote-User", "")]),
            "does not say for whom",
        ),
    ] {
        let error = proxy.user(&certificate(name), &headers).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    proxy.user(b"no certificate", &jane).unwrap_err();
    let any = FrontProxy::from_data(&data("[]")).unwrap();
    any.user(&certificate("whoever"), &jane).unwrap();
}

#[test]
fn a_name_that_cannot_be_read_is_no_name_to_leave_out() {
    let proxy = FrontProxy::from_data(&data("[]")).unwrap();
    for header in ["x-remote-user", "x-remote-group", "x-remote-extra-a"] {
        let mut headers = headers(&[("X-Remote-User", "jane")]);
        headers.insert(header, HeaderValue::from_bytes(b"J\xfcrgen").unwrap());
        let error = proxy.user(&certificate("any"), &headers).unwrap_err();
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
    }
}

#[test]
fn a_cluster_without_a_front_proxy_is_told_so() {
    for key in [
        "requestheader-client-ca-file",
        "requestheader-username-headers",
    ] {
        let mut data = data("[]");
        data.remove(key);
        let error = FrontProxy::from_data(&data).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn keys_are_unescaped_and_what_is_no_escape_stays() {
    for (text, wanted) in [("a%2fb", "a/b"), ("a%", "a%"), ("%zz", "%zz"), ("%2", "%2")] {
        assert_eq!(unescaped(text), wanted);
    }
}
