//! Git against real repositories on this machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::fetch::git::{Access, GitError};
use slipway_base::{
    outside::{Outside, policy::Policy},
    zone::input::{GitCredentials, GitLimits, Secret},
};
use slipway_remotes::web::Web;
use slipway_support::git_server::{Backend, daemon, web as serve};

fn limits() -> GitLimits {
    GitLimits {
        protocols: vec!["file".into(), "https".into()],
        max_bytes: 10_000_000,
        max_files: 100,
        timeout_seconds: 60,
    }
}

struct Repository {
    dir: tempfile::TempDir,
    limits: GitLimits,
    env: BTreeMap<String, String>,
    web: Web,
}

/// Allows connections only to this machine's own address.
fn web() -> Web {
    let here = Outside::new(Policy {
        allow: vec!["127.0.0.1".parse().unwrap(), "localhost".parse().unwrap()],
        ..Policy::default()
    });
    Web::new(here, None, &BTreeMap::new()).unwrap()
}

impl Repository {
    fn new() -> Self {
        Self::with("sha1")
    }

    fn with(format: &str) -> Self {
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
            limits: limits(),
            env: BTreeMap::new(),
            web: web(),
        };
        let format = format!("--object-format={format}");
        this.git(&["init", "--quiet", "--initial-branch=main", &format]);
        this
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=T",
                "-c",
                "user.email=t@t",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(args)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, file: &str, text: &str) -> String {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }
}

fn access<'a>(repository: &'a Repository, url: &'a str) -> Access<'a> {
    Access {
        url,
        credentials: None,
        ca_pem: None,
        web: &repository.web,
        env: &repository.env,
        limits: &repository.limits,
    }
}

async fn tree(
    access: &Access<'_>,
    commit: &str,
    reference: Option<&str>,
) -> Result<(tempfile::TempDir, PathBuf), GitError> {
    let fetched = access.fetch(commit, reference).await?;
    let into = tempfile::tempdir().unwrap();
    access.unpack(&fetched, into.path().to_owned()).await?;
    let path = into.path().to_owned();
    Ok((into, path))
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[tokio::test]
async fn a_commit_is_fetched_also_when_the_branch_went_on() {
    let repository = Repository::new();
    let attributes = "kept export-ignore\nas-it-is export-subst\n";
    repository.commit(".gitattributes", attributes);
    repository.commit("kept", "x");
    repository.commit("as-it-is", "$Format:%H$");
    let first = repository.commit("file", "one");
    repository.commit("file", "two");
    let url = repository.url();
    let (_keep, dir) = tree(&access(&repository, &url), &first, Some("main"))
        .await
        .unwrap();
    assert_eq!(read(&dir, "file"), "one");
    assert_eq!(read(&dir, "kept"), "x");
    assert_eq!(read(&dir, "as-it-is"), "$Format:%H$");
    assert!(!dir.join(".git").exists());
}

/// `git archive` leaves out such folders, so the extraction would not count them.
#[tokio::test]
async fn empty_folders_count_as_files_do() {
    let repository = Repository::new();
    let empty = repository.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    for (folders, fits) in [(100, true), (101, false)] {
        let list: Vec<String> = (0..folders)
            .map(|n| format!("040000 tree {empty}\td{n}\n"))
            .collect();
        let file = repository.dir.path().join(".git/list");
        fs::write(&file, list.concat()).unwrap();
        let made = Command::new("git")
            .arg("mktree")
            .current_dir(repository.dir.path())
            .stdin(fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        let folder = String::from_utf8(made.stdout).unwrap();
        let commit = repository.git(&["commit-tree", folder.trim(), "-m", "x"]);
        repository.git(&["update-ref", "refs/heads/main", &commit]);
        let url = repository.url();
        let tree = tree(&access(&repository, &url), &commit, Some("main")).await;
        match tree {
            Ok(_) => assert!(fits, "{folders}"),
            Err(error) => {
                let error = slipway_remotes::registry::last_causes(&error);
                assert!(
                    !fits && error.contains("more than the 100 files"),
                    "{error}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_repository_with_long_commit_ids_is_fetched() {
    let repository = Repository::with("sha256");
    let first = repository.commit("file", "one");
    repository.commit("file", "two");
    assert_eq!(first.len(), 64);
    let url = repository.url();
    let (_keep, dir) = tree(&access(&repository, &url), &first, Some("main"))
        .await
        .unwrap();
    assert_eq!(read(&dir, "file"), "one");
}

#[tokio::test]
async fn servers_are_reached_where_they_may_be_and_nowhere_else() {
    use std::io::Write as _;

    let mut repository = Repository::new();
    repository.limits.protocols = ["https", "http", "git"].map(str::to_owned).to_vec();
    let commit = repository.commit("file", "one");
    let root = repository.dir.path();
    let backend = Backend {
        // "me:hunter2"
        authorization: Some("Basic bWU6aHVudGVyMg=="),
        ..Backend::new(root)
    };
    let (port, open) = (backend.start().port(), Backend::new(root).start().port());
    let me = GitCredentials {
        username: "me".into(),
        password: Secret("hunter2".into()),
    };
    let redirect = |to: String| {
        let address = serve(move |request, stream| {
            let to = format!("{to}{}", request.target);
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            drop(stream.write_all(answer.as_bytes()));
        });
        format!("http://{address}/.git")
    };
    for (url, credentials, error) in [
        // By name, which is pinned to its address.
        (format!("http://localhost:{port}/.git"), Some(&me), ""),
        (format!("http://127.0.0.1:{port}/.git"), Some(&me), ""),
        (format!("http://127.0.0.1:{port}/.git"), None, "secretRef"),
        (format!("git://{}/.git", daemon(root)), None, ""),
        (redirect(format!("http://localhost:{open}")), None, ""),
        // Another server gets no credentials.
        (
            redirect(format!("http://127.0.0.1:{port}")),
            Some(&me),
            "does not let us read",
        ),
        (
            redirect("http://127.0.0.2".to_owned()),
            None,
            "outside.allow",
        ),
        ("http://127.0.0.2/x.git".to_owned(), None, "outside.allow"),
        ("git://127.0.0.2/x.git".to_owned(), None, "outside.allow"),
        (
            "http://169.254.169.254/x.git".to_owned(),
            None,
            "outside.allow",
        ),
    ] {
        let access = Access {
            credentials,
            ..access(&repository, &url)
        };
        match access.fetch(&commit, Some("main")).await {
            Ok(fetched) => assert_eq!((fetched.commit.as_str(), error), (commit.as_str(), "")),
            Err(e) => assert!(
                !error.is_empty() && e.to_string().contains(error),
                "{url}: {e}"
            ),
        }
    }
}

#[tokio::test]
async fn credentials_are_not_sent_for_everybody_to_read_whenever_they_are_asked_for() {
    let mut repository = Repository::new();
    repository.limits.protocols = vec!["http".into()];
    let commit = repository.commit("file", "one");
    let backend = Backend {
        // "me:hunter2"
        authorization: Some("Basic bWU6aHVudGVyMg=="),
        late: true,
        ..Backend::new(repository.dir.path())
    };
    let me = GitCredentials {
        username: "me".into(),
        password: Secret("hunter2".into()),
    };
    let address = backend.start();
    let told = || {
        let requests = backend.requests();
        requests.iter().any(|r| r.header("authorization").is_some())
    };
    let fetch = async |repository: &Repository, url: &str| {
        let access = Access {
            credentials: Some(&me),
            ..access(repository, url)
        };
        access.fetch(&commit, Some("main")).await.map(drop)
    };
    // A proxy answers in the name of a server that no administrator has named.
    let mut between = Repository {
        dir: tempfile::tempdir().unwrap(),
        limits: repository.limits.clone(),
        env: BTreeMap::from([("http_proxy".to_owned(), format!("http://{address}"))]),
        web: web(),
    };
    between.web = Web::new(Outside::default(), None, &between.env).unwrap();
    let error = fetch(&between, "http://198.51.100.7/.git").await;
    assert!(!told());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("not sent over plain http"), "{error}");
    // The server that the administrator has named gets the credentials.
    fetch(&repository, &format!("http://{address}/.git"))
        .await
        .unwrap();
    assert!(told());
}

#[tokio::test]
async fn a_commit_that_is_gone_is_named() {
    let repository = Repository::new();
    repository.commit("file", "one");
    let url = repository.url();
    let gone = "0123456789012345678901234567890123456789";
    let error = tree(&access(&repository, &url), gone, Some("main"))
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains(gone));
    let error = tree(&access(&repository, &url), "main", None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no whole commit id"), "{error}");
}

#[tokio::test]
async fn references_are_branches_tags_and_commits() {
    let repository = Repository::new();
    let first = repository.commit("file", "one");
    repository.git(&["tag", "-a", "v1", "-m", "x"]);
    let second = repository.commit("file", "two");
    repository.git(&["branch", "side/branch", &first]);
    let url = repository.url();
    let access = access(&repository, &url);
    for (reference, expected) in [
        (None, &second),
        (Some("main"), &second),
        (Some("v1"), &first),
        (Some("side/branch"), &first),
        (Some(first.as_str()), &first),
        (Some(&first[..8]), &first),
    ] {
        let fetched = access.fetch_reference(reference).await.unwrap();
        assert_eq!(&fetched.commit, expected, "{reference:?}");
    }
    for reference in ["nope", "--upload-pack=touch", "a..b", ""] {
        let error = access.fetch_reference(Some(reference)).await.unwrap_err();
        assert!(
            matches!(error, GitError::NotFound { .. }),
            "{reference}: {error}"
        );
    }
}

#[tokio::test]
async fn submodules_are_told_by_name() {
    let (repository, other) = (Repository::new(), Repository::new());
    other.commit("file", "x");
    repository.commit("file", "one");
    repository.git(&["submodule", "add", "--quiet", &other.url(), "vendor/öther"]);
    let commit = repository.commit("more", "x");
    let url = repository.url();
    let access = access(&repository, &url);
    let fetched = access.fetch(&commit, None).await.unwrap();
    let into = tempfile::tempdir().unwrap();
    let found = access
        .unpack(&fetched, into.path().to_owned())
        .await
        .unwrap();
    assert_eq!(found, ["vendor/öther"]);
    assert!(into.path().join("vendor/öther").is_dir());
}

#[tokio::test]
async fn limits_are_kept() {
    let mut repository = Repository::new();
    // Data that does not compress: a counter through a mixing function.
    let noise: String = (0_u64..200_000)
        .map(|i| {
            format!(
                "{:016x}",
                i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 17).wrapping_mul(0xbf58_476d)
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let commit = repository.commit("file", &noise);
    let url = repository.url();
    repository.limits.max_bytes = 100_000;
    let error = tree(&access(&repository, &url), &commit, None)
        .await
        .unwrap_err();
    assert!(matches!(error, GitError::TooLarge { .. }), "{error}");
    repository.limits = GitLimits {
        timeout_seconds: 0,
        ..limits()
    };
    let error = access(&repository, "file:///dev/zero")
        .fetch(&commit, None)
        .await;
    assert!(error.is_err());
}

#[test]
fn addresses_are_checked_and_shown_without_secrets() {
    let (env, limits, web) = (BTreeMap::new(), limits(), web());
    let check = |url: &str| {
        let access = Access {
            url,
            credentials: None,
            ca_pem: None,
            web: &web,
            env: &env,
            limits: &limits,
        };
        access.check().map_err(|error| error.to_string())
    };
    check("https://h/x.git").unwrap();
    for (url, expected) in [
        ("git@h:x.git", "SSH"),
        ("ssh://h/x", "SSH"),
        ("http://h/x", "not among the protocols"),
        ("ext::sh -c x", "SSH"),
        ("https://u:hunter2@h/x", "secretRef"),
        ("https://h/x y", "no address"),
    ] {
        let error = check(url).unwrap_err();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{url}: {error}"
        );
    }
}

#[test]
fn what_git_says_is_understood() {
    let (env, limits, web) = (BTreeMap::new(), limits(), web());
    let access = Access {
        url: "https://h/x.git",
        credentials: None,
        ca_pem: None,
        web: &web,
        env: &env,
        limits: &limits,
    };
    let error =
        access.error("fatal: could not read Username for 'https://h': terminal prompts disabled");
    assert!(matches!(error, GitError::Denied { .. }));
    let error = access.error("fatal: repository 'https://h/x.git/' not found");
    assert!(matches!(error, GitError::NoRepository { .. }));
    let error =
        access.error("fatal: unable to access 'https://h/x.git/': Could not resolve host: h");
    assert!(error.is_transient());
    let error = access.error("hint: x\nfatal: something new");
    assert_eq!(
        error.to_string(),
        "cannot fetch from https://h/x.git: fatal: something new"
    );
}
