//! Git against real repositories on this machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::zone::fetch::git::{Access, GitError, is_reference};
use crate::zone::input::GitLimits;

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
    access
        .unpack(&fetched, into.path().to_owned(), false)
        .await?;
    let path = into.path().to_owned();
    Ok((into, path))
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[tokio::test]
async fn a_commit_is_fetched_also_when_the_branch_went_on() {
    let repository = Repository::new();
    repository.commit(".gitattributes", "left-out export-ignore\n");
    repository.commit("left-out", "x");
    let first = repository.commit("file", "one");
    repository.commit("file", "two");
    let url = repository.url();
    let (_keep, dir) = tree(&access(&repository, &url), &first, Some("main"))
        .await
        .unwrap();
    assert_eq!(read(&dir, "file"), "one");
    assert!(!dir.join("left-out").exists() && !dir.join(".git").exists());
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
async fn submodules_are_refused_by_name() {
    let (repository, other) = (Repository::new(), Repository::new());
    other.commit("file", "x");
    repository.commit("file", "one");
    repository.git(&["submodule", "add", "--quiet", &other.url(), "vendor/other"]);
    let commit = repository.commit("more", "x");
    let url = repository.url();
    let error = tree(&access(&repository, &url), &commit, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("submodule at vendor/other"), "{error}");
}

#[tokio::test]
async fn limits_are_kept() {
    let mut repository = Repository::new();
    // What does not compress: a counter through a mixing function.
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
    let (env, limits) = (BTreeMap::new(), limits());
    let check = |url: &str| {
        let access = Access {
            url,
            credentials: None,
            ca_pem: None,
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
    let (env, limits) = (BTreeMap::new(), limits());
    let access = Access {
        url: "https://h/x.git",
        credentials: None,
        ca_pem: None,
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

#[test]
fn references_are_told_from_options_and_patterns() {
    assert!(
        is_reference("main") && is_reference("feature/a-b_c.1") && is_reference("refs/heads/x")
    );
    for bad in ["", "-x", "a b", "a..b", "a:b", "+x", "a*", "a@{1}", "^a"] {
        assert!(!is_reference(bad), "{bad}");
    }
}
