//! Git's arguments, environment and words.

use crate::git::{Credentials, Remote, Trouble, last_words, trouble};
use slipway_base::text;
use std::collections::BTreeMap;

fn remote<'a>(url: &'a str, env: &'a BTreeMap<String, String>) -> Remote<'a> {
    Remote {
        url,
        credentials: Some(Credentials {
            username: "me",
            password: "hunter2",
        }),
        pinned: Some("h:8443:198.51.100.7"),
        virtual_host: None,
        protocols: &[],
        certificates: None,
        env,
    }
}

#[test]
fn credentials_are_in_no_argument_and_for_their_server_only() {
    let env = BTreeMap::new();
    let remote = remote("https://h:8443/x.git", &env);
    let command = remote.command();
    let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    assert!(!args.iter().any(|a| a.contains("hunter2")));
    for wanted in [
        "protocol.allow=never",
        "transfer.credentialsInUrl=die",
        "http.followRedirects=false",
        "http.curloptResolve=h:8443:198.51.100.7",
    ] {
        assert!(args.iter().any(|a| a == wanted), "{args:?}");
    }
    let key = command
        .get_envs()
        .find(|(name, _)| *name == "GIT_CONFIG_KEY_1");
    let key = key.and_then(|(_, value)| value?.to_str());
    assert_eq!(key, Some("credential.https://h:8443.helper"));
    assert!(!format!("{remote:?}").contains("hunter2"));
}

#[test]
fn a_proxy_counts_however_its_variable_is_spelt() {
    let env = [
        ("HTTP_PROXY", "http://a:1"),
        ("HTTPS_PROXY", "http://b:1"),
        ("https_proxy", "http://c:1"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env = BTreeMap::from(env);
    let command = remote("http://h/x.git", &env).command();
    let of = |wanted: &str| {
        let mut all = command.get_envs();
        let found = all.find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value?.to_str())
    };
    assert_eq!(of("http_proxy"), Some("http://a:1"));
    assert_eq!(of("https_proxy"), Some("http://c:1"));
    assert_eq!(of("no_proxy"), None);
}

#[test]
fn credentials_of_several_lines_do_not_fit() {
    for (password, fits) in [("a b", true), ("a\nhost=evil", false), ("a\r", false)] {
        let credentials = Credentials {
            username: "me",
            password,
        };
        assert_eq!(credentials.fit(), fits, "{password:?}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let env = BTreeMap::new();
    let url = "https://u:pass@h/x.git?token=abcdef";
    assert_eq!(text::public_url(url), "https://h/x.git");
    let said = format!("unable to access '{url}/': hunter2 at /y?token=abcdef");
    assert_eq!(
        remote(url, &env).redacted(&said),
        "unable to access 'https://h/x.git/': [redacted] at /y?[redacted]"
    );
}

#[test]
fn what_git_says_is_understood() {
    for (said, wanted) in [
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            Trouble::Denied,
        ),
        (
            "fatal: unable to access 'https://h/x/': The requested URL returned error: 403",
            Trouble::Denied,
        ),
        (
            "fatal: repository 'https://h/x.git/' not found",
            Trouble::NoRepository,
        ),
        (
            "fatal: remote error: access denied or repository not exported: /x",
            Trouble::NoRepository,
        ),
        (
            "fatal: unable to access 'https://h/x.git/': Could not resolve host: h",
            Trouble::Away,
        ),
        ("fatal: something new", Trouble::Other),
    ] {
        assert_eq!(trouble(said), wanted, "{said}");
    }
    assert_eq!(last_words("hint: x\nfatal: a\u{7}b\n"), "fatal: ab");
    assert_eq!(last_words("warning: x\n"), "git said nothing");
}
