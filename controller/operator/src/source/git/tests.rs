//! Look-ups at real git servers on this machine.

use std::{collections::BTreeMap, fs, path::Path};

use crate::source::git::{Access, Found, Git, GitError, There};
use slipway_base::{
    outside::{Outside, policy::Policy},
    zone::input::{GitCredentials, GitLimits, Secret},
};
use slipway_core::domain::app::GitTarget;
use slipway_remotes::web::Web;
use slipway_support::git_server::{Backend, daemon, shell};

fn git() -> Git {
    let limits = GitLimits {
        protocols: vec!["http".into(), "git".into()],
        max_bytes: 0,
        max_files: 0,
        timeout_seconds: 20,
    };
    let here = Outside::new(Policy {
        allow: vec!["127.0.0.1".parse().unwrap()],
        ..Policy::default()
    });
    Git::new(&limits, Web::new(here, None, &BTreeMap::new()).unwrap())
}

/// Repositories `sha1.git`, `sha256.git` and `empty.git`.
fn repositories() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for format in ["sha1", "sha256"] {
        shell(
            folder.path(),
            &format!(
                "git init -q -b trunk --object-format={format} {format}.git; cd {format}.git
                 git commit -q --allow-empty -m one; git tag light; git tag -a heavy -m heavy
                 git commit -q --allow-empty -m two; git branch side; git tag side HEAD~1; git branch side2 HEAD~1
                 git update-server-info; cp -r .git/* ."
            ),
        );
    }
    shell(folder.path(), "git init -q --bare -b trunk empty.git");
    folder
}

/// One server of each kind that serves repositories.
fn servers(root: &Path) -> Vec<(&'static str, String)> {
    let new = Backend::new(root);
    let old = Backend {
        version2: false,
        ..new.clone()
    };
    vec![
        ("version 2", format!("http://{}", new.start())),
        ("version 0", format!("http://{}", old.start())),
        ("daemon", format!("git://{}", daemon(root))),
        ("files", format!("http://{}", files(root))),
    ]
}

/// A web server that knows nothing of git.
fn files(root: &Path) -> std::net::SocketAddr {
    let root = root.to_owned();
    slipway_support::git_server::web(move |request, stream| {
        use std::io::Write as _;
        let path = request.target.split('?').next().unwrap_or_default();
        let answer = match fs::read_to_string(root.join(path.trim_start_matches('/'))) {
            Ok(text) => format!(
                "200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            ),
            Err(_) => "404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        };
        drop(stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()));
    })
}

#[tokio::test]
async fn branches_tags_and_the_default_branch_are_found_at_every_kind_of_server() {
    let folder = repositories();
    for (kind, server) in servers(folder.path()) {
        for format in ["sha1", "sha256"] {
            let root = folder.path().join(format!("{format}.git"));
            let rev = |name: &str| shell(&root, &format!("git rev-parse '{name}'"));
            let url = format!("{server}/{format}.git");
            for (target, commit) in [
                (GitTarget::Default, rev("trunk")),
                (GitTarget::Named("trunk".into()), rev("trunk")),
                (GitTarget::Named("light".into()), rev("trunk~1")),
                // The commit, not the tag object.
                (GitTarget::Named("heavy".into()), rev("trunk~1")),
                // A branch wins over a tag.
                (GitTarget::Named("side".into()), rev("trunk")),
                (GitTarget::Named("refs/tags/side".into()), rev("trunk~1")),
                (GitTarget::Named("refs/tags/heavy".into()), rev("trunk~1")),
            ] {
                let found = git().resolve(&url, &target, None).await;
                let name = target.named().unwrap_or("HEAD").to_owned();
                let expected = Found {
                    commit,
                    r#ref: name,
                };
                assert_eq!(found, Ok(expected), "{kind} {format} {target:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_at_every_kind_of_server() {
    let folder = repositories();
    for (kind, server) in servers(folder.path()) {
        let resolve = async |repository: &str, target| {
            let url = format!("{server}/{repository}.git");
            git().resolve(&url, &target, None).await.unwrap_err()
        };
        let error = resolve("sha1", GitTarget::Named("main".into())).await;
        let text = error.to_string();
        assert!(
            matches!(error, GitError::NoSuchRef { .. }),
            "{kind}: {text}"
        );
        let known = "its branches are side, side2, trunk; its tags are heavy, light, side";
        assert!(text.ends_with(known), "{kind}: {text}");
        let error = resolve("sha1", GitTarget::Named("abc1234".into())).await;
        assert!(error.to_string().contains("40 digits"), "{kind}: {error}");
        // The name is only the beginning of a branch's.
        let error = resolve("sha1", GitTarget::Named("sid".into())).await;
        assert!(
            matches!(error, GitError::NoSuchRef { .. }),
            "{kind}: {error}"
        );
        let error = resolve("none", GitTarget::Default).await;
        assert!(
            matches!(error, GitError::NoSuchRepository { .. }),
            "{kind}: {error}"
        );
        if kind != "files" {
            let error = resolve("empty", GitTarget::Default).await;
            assert!(
                error.to_string().ends_with("it is empty"),
                "{kind}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_of_version_2_tells_of_what_it_is_asked_for() {
    let folder = repositories();
    let backend = Backend::new(folder.path());
    let url = format!("http://{}/sha1.git", backend.start());
    let target = GitTarget::Named("side".into());
    git().resolve(&url, &target, None).await.unwrap();
    let asked = backend.requests();
    assert_eq!(asked.len(), 2);
    let question = String::from_utf8(asked[1].body.clone()).unwrap();
    assert!(
        question.contains("command=ls-refs")
            && question.contains("object-format=sha1")
            && question.contains("ref-prefix refs/heads/side\n")
            && question.contains("ref-prefix refs/tags/side\n"),
        "{question}"
    );
}

#[tokio::test]
async fn a_commit_is_never_looked_up() {
    let commit = "a".repeat(40);
    let target = GitTarget::Commit(commit.clone());
    let found = git()
        .resolve("http://127.0.0.1:1/x.git", &target, None)
        .await
        .unwrap();
    assert_eq!(found.commit, commit);
}

#[tokio::test]
async fn what_is_away_or_not_allowed_is_told_without_secrets() {
    let resolve = async |url: &str| {
        let found = git().resolve(url, &GitTarget::Default, None).await;
        let error = found.unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error
    };
    for url in [
        "http://127.0.0.1:1/x.git",
        "http://127.0.0.1:1/x.git?token=hunter2",
        "git://127.0.0.1:1/x.git",
        "http://no-such-host.invalid/x.git?token=hunter2",
    ] {
        let error = resolve(url).await;
        assert!(matches!(error, GitError::Unreachable { .. }), "{error}");
    }
    let error = resolve("https://127.0.0.1:1/x.git").await;
    assert!(error.to_string().contains("not allowed"), "{error}");
    for url in ["http://127.0.0.2/x.git", "git://[::1]/x.git?token=hunter2"] {
        let error = resolve(url).await;
        assert!(matches!(error, GitError::Forbidden { .. }), "{error}");
        assert!(error.to_string().contains("outside.allow"), "{error}");
    }
}

#[tokio::test]
async fn refused_credentials_name_their_secret_and_do_not_show() {
    let folder = repositories();
    let backend = Backend {
        // "me:hunter2"
        authorization: Some("Basic bWU6aHVudGVyMg=="),
        ..Backend::new(folder.path())
    };
    let url = format!("http://{}/sha1.git", backend.start());
    let resolve = async |password: &str| {
        let credentials = GitCredentials {
            username: "me".into(),
            password: Secret(password.into()),
        };
        let access = Access {
            secret: "git-login",
            credentials: &credentials,
        };
        git().resolve(&url, &GitTarget::Default, Some(access)).await
    };
    assert!(resolve("hunter2").await.is_ok());
    let error = resolve("hunter3").await.unwrap_err();
    assert!(matches!(error, GitError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("Secret git-login"), "{error}");
    assert!(!error.to_string().contains("hunter3"), "{error}");
    let asked = backend.requests().len();
    let error = resolve("a\nhost=evil").await.unwrap_err();
    assert_eq!(
        error,
        GitError::Credentials {
            secret: "git-login".into()
        }
    );
    assert_eq!(backend.requests().len(), asked);
    let error = git().resolve(&url, &GitTarget::Default, None).await;
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("source.git.secretRef"),
        "{error}"
    );
}

#[test]
fn what_there_is_is_told_in_few_words() {
    assert_eq!(There::default().words("main"), "it is empty");
    let mut there = There::default();
    there.see("refs/heads/a\u{1b}[2Kb\u{202e}c");
    there.see("refs/pull/1/head");
    assert_eq!(there.words("main"), "its branches are abc");
    for n in 0..100_000 {
        there.see(&format!("refs/tags/v{n}"));
        there.see(&format!("refs/tags/v{n}^{{}}"));
    }
    let words = there.words("main");
    assert!(words.ends_with(", v11 and 99988 more"), "{words}");
}
