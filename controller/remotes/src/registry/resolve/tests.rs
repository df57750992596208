//! Accounts in the files that clients write, and the servers that they are for.

use crate::registry::resolve::{Account, credentials, server};

fn of(config: &str, registry: &str) -> Result<Account, String> {
    credentials(config.as_bytes(), registry, "team/app")
}

#[test]
fn accounts_are_found_in_each_form_that_clients_write() {
    let basic = |u: &str, p: &str| {
        Ok(Account::Named {
            username: u.into(),
            password: p.into(),
        })
    };
    let cases = [
        (
            r#"{"auths":{"r.example:5000":{"auth":"dTpwOnE="}}}"#,
            "r.example:5000",
            basic("u", "p:q"),
        ),
        (
            r#"{"auths":{"https://r.example/v2/":{"username":"u","password":"p"}}}"#,
            "r.example",
            basic("u", "p"),
        ),
        (
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}"#,
            "docker.io",
            basic("u", "p"),
        ),
        (
            r#"{"auths":{"other.example":{"auth":"dTpw"}}}"#,
            "r.example",
            Ok(Account::Anonymous),
        ),
        (
            r#"{"auths":{"HTTPS://R.Example:443":{"auth":"dTpw"}}}"#,
            "r.example",
            basic("u", "p"),
        ),
        (
            r#"{"auths":{"r.example:5000":{"auth":"dTpw"}}}"#,
            "r.example",
            Ok(Account::Anonymous),
        ),
        (
            r#"{"credsStore":"desktop"}"#,
            "r.example",
            Ok(Account::Anonymous),
        ),
        (
            r#"{"auths":{"r.example":{}}}"#,
            "r.example",
            Ok(Account::Anonymous),
        ),
    ];
    for (config, registry, expected) in cases {
        assert_eq!(of(config, registry), expected, "{config}");
    }
}

#[test]
fn a_server_is_the_same_however_it_is_spelt() {
    for (one, other, same) in [
        ("R.example", "r.EXAMPLE:443", true),
        ("r.example:5000", "r.example", false),
        ("r.example", "s.example", false),
    ] {
        assert_eq!(server(one) == server(other), same, "{one} {other}");
    }
}

#[test]
fn the_longest_key_that_the_repository_lies_under_counts() {
    let config = r#"{"auths":{
            "https://r.example/v2/":{"username":"all","password":"p"},
            "r.example/team":{"username":"team","password":"p"},
            "r.example/team/app":{"username":"app","password":"p"},
            "r.example/te":{"username":"te","password":"p"},
            "r.example/open":{}}}"#;
    for (repository, account) in [
        ("team/app", Some("app")),
        ("team/application", Some("team")),
        ("team", Some("team")),
        ("teams/app", Some("all")),
        ("open/app", None),
    ] {
        let found = credentials(config.as_bytes(), "r.example", repository).unwrap();
        let wanted = account.map_or(Account::Anonymous, |account| Account::Named {
            username: account.into(),
            password: "p".into(),
        });
        assert_eq!(found, wanted, "{repository}");
    }
}

#[test]
fn errors_do_not_show_the_secret() {
    for config in [
        r#"{"auths":{"r":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":{"r":"secret"}}"#,
        "secret",
    ] {
        let error = of(config, "r").unwrap_err();
        assert!(
            !error.contains("secret\"") && !error.contains("c2Vj"),
            "{error}"
        );
        assert!(error.contains("pull secret"), "{error}");
    }
}
