//! Challenges of registries, and the accounts that answer them.

use crate::registry::account::{Account, Challenge, Token, token_url};
use proptest::prelude::*;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use std::time::Duration;

fn of(headers: &[&str]) -> Option<Challenge> {
    let mut map = HeaderMap::new();
    for header in headers {
        map.append(WWW_AUTHENTICATE, HeaderValue::from_str(header).unwrap());
    }
    Challenge::of(&map)
}

#[test]
fn challenges_are_read_in_each_form_that_registries_write() {
    let bearer = |realm: &str, service: Option<&str>| {
        Some(Challenge::Bearer {
            realm: Url::parse(realm).unwrap(),
            service: service.map(str::to_owned),
        })
    };
    for (headers, wanted) in [
        (&[][..], None),
        (&["Basic realm=\"x\""], Some(Challenge::Basic)),
        (
            &["basic realm=x, charset=\"UTF-8\""],
            Some(Challenge::Basic),
        ),
        (
            &["Bearer realm=\"https://a.example/token\",service=\"r\",scope=\"repository:x:pull\""],
            bearer("https://a.example/token", Some("r")),
        ),
        (
            &[
                "Basic realm=\"x\"",
                "bearer Realm=\"https://a.example/t?x=1\"",
            ],
            bearer("https://a.example/t?x=1", None),
        ),
        (&["Bearer realm=\"no address\""], None),
        (&["Bearer service=\"r\""], None),
        (&["Negotiate"], None),
        (&["\"\"\"", "Basic realm=\"x\""], Some(Challenge::Basic)),
    ] {
        assert_eq!(of(headers), wanted, "{headers:?}");
    }
}

#[test]
fn a_token_is_asked_for_with_all_that_it_is_for() {
    let realm = Url::parse("https://a.example/t?x=1").unwrap();
    let scopes = [
        "repository:a:pull,push".to_owned(),
        "repository:b:pull".to_owned(),
    ];
    assert_eq!(
        token_url(&realm, Some("my registry"), &scopes).as_str(),
        "https://a.example/t?x=1&service=my+registry&scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull"
    );
}

#[test]
fn tokens_have_either_name_and_are_not_kept_for_ever() {
    for (body, wanted) in [
        (r#"{"token":"a"}"#, Some(("Bearer a", 60))),
        (
            r#"{"access_token":"b","expires_in":300,"x":[1]}"#,
            Some(("Bearer b", 300)),
        ),
        (
            r#"{"token":"c","expires_in":99999999}"#,
            Some(("Bearer c", 3600)),
        ),
        (r#"{"token":"a\nb"}"#, None),
        ("{}", None),
        ("token", None),
    ] {
        let found = Token::of(body.as_bytes());
        let found = found
            .as_ref()
            .map(|t| (t.header.to_str().unwrap(), t.lifetime));
        let wanted = wanted.map(|(text, seconds)| (text, Duration::from_secs(seconds)));
        assert_eq!(found, wanted, "{body}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let account = Account::Named {
        username: "u".into(),
        password: "canary".into(),
    };
    let header = account.basic().unwrap();
    assert_eq!(header.to_str().unwrap(), "Basic dTpjYW5hcnk=");
    let printed = format!("{account:?} {header:?}");
    assert!(
        !printed.contains("canary") && !printed.contains("dTpj"),
        "{printed}"
    );
}

proptest! {
    #[test]
    fn no_header_makes_it_fall_over(text in "[ -~]{0,80}") {
        let _ = of(&[&text]);
    }
}
