//! A branch or tag of a git repository → the commit that it names now, by `git ls-remote`.
//!
//! The program is the hardened one of [`crate::git`], with an end after the time limit for all that it started.

use std::{collections::BTreeMap, fmt::Write as _, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{
    domain::app::GitTarget,
    git::{Credentials, Remote, Trouble, bundle, last_words, shown, trouble},
    text,
    zone::input::{GitCredentials, GitLimits},
};

/// Most bytes that are read of an answer.
const ANSWER: u64 = 16 * 1024 * 1024;
/// A look-up is small: one that takes longer hangs.
const SECONDS: u64 = 15;
/// Most refs that a message names.
const NAMED: usize = 12;
/// A commit, and what named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The whole commit id.
    pub commit: String,
    /// The branch or tag, or `HEAD` for the default branch.
    pub r#ref: String,
}

/// Why there is no commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// No such branch or tag.
    #[error("{url} has no branch or tag {name:?}: {known}")]
    NoSuchRef {
        /// Address.
        url: String,
        /// What was looked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such repository, or none that these credentials may see.
    #[error(
        "{url}: the server knows no such repository, or shows it to nobody without the right credentials ({credentials}): check the address"
    )]
    NoSuchRepository {
        /// Address.
        url: String,
        /// Which credentials were used.
        credentials: String,
    },
    /// The server wants other credentials.
    #[error("{url}: the server refused access ({credentials}): {advice}")]
    Refused {
        /// Address.
        url: String,
        /// Which credentials were used.
        credentials: String,
        /// What to do.
        advice: String,
    },
    /// Credentials that git cannot be given.
    #[error("user name or password of Secret {secret} has a line break in it: write them without")]
    Credentials {
        /// Name of the Secret.
        secret: String,
    },
    /// No answer, or none that can be used.
    #[error("{url} cannot be looked up: {message}")]
    Unreachable {
        /// Address.
        url: String,
        /// What git said.
        message: String,
    },
    /// The program does not run.
    #[error("the program git cannot be run: {message}")]
    Program {
        /// What the system said.
        message: String,
    },
}

/// Credentials, and where they come from.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Name of the Secret.
    pub secret: &'a str,
    /// What it holds.
    pub credentials: &'a GitCredentials,
}

/// The program `git`, and what it may do.
#[derive(Clone, Debug)]
pub struct Git {
    protocols: Vec<String>,
    env: BTreeMap<String, String>,
    timeout: Duration,
    /// Removed with the last copy.
    certificates: Option<Arc<NamedTempFile>>,
}

impl Git {
    /// `ca_pem` is trusted instead of the system's certificates; of `env` the proxies count.
    pub fn new(
        limits: &GitLimits,
        ca_pem: Option<&str>,
        env: &BTreeMap<String, String>,
    ) -> std::io::Result<Self> {
        let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
        let env = env
            .iter()
            .filter(|(name, _)| proxies.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| (name.clone(), value.clone()));
        Ok(Self {
            protocols: limits.protocols.clone(),
            env: env.collect(),
            timeout: Duration::from_secs(limits.timeout_seconds.clamp(1, SECONDS)),
            certificates: ca_pem.map(bundle).transpose()?.map(Arc::new),
        })
    }

    /// The commit that `target` names now.
    pub async fn resolve(
        &self,
        url: &str,
        target: &GitTarget,
        access: Option<Access<'_>>,
    ) -> Result<Found, GitError> {
        let name = match target {
            GitTarget::Commit(commit) => {
                return Ok(Found {
                    commit: commit.clone(),
                    r#ref: commit.clone(),
                });
            }
            GitTarget::Default => "HEAD",
            GitTarget::Named(name) => name,
        };
        let wanted = patterns(name);
        let mut args = vec!["ls-remote", "--quiet", "--", url];
        args.extend(wanted.iter().map(String::as_str));
        let answer = self.run(url, &args, access).await?;
        if let Some(commit) = pick(&answer, name) {
            return Ok(Found {
                commit,
                r#ref: name.to_owned(),
            });
        }
        let args = ["ls-remote", "--quiet", "--heads", "--tags", "--", url];
        let answer = self.run(url, &args, access).await?;
        Err(GitError::NoSuchRef {
            url: shown(url),
            name: name.to_owned(),
            known: known(&answer, name),
        })
    }

    async fn run(
        &self,
        url: &str,
        args: &[&str],
        access: Option<Access<'_>>,
    ) -> Result<String, GitError> {
        let remote = Remote {
            url,
            credentials: access.map(|access| Credentials {
                username: &access.credentials.username,
                password: &access.credentials.password.0,
            }),
            protocols: &self.protocols,
            certificates: self.certificates.as_ref().map(|file| file.path()),
            env: &self.env,
        };
        if let Some(access) = access
            && remote.credentials.is_some_and(|c| !c.fit())
        {
            return Err(GitError::Credentials {
                secret: access.secret.to_owned(),
            });
        }
        let mut command = remote.command();
        command
            .args(args)
            .current_dir("/")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let program = |e: std::io::Error| GitError::Program {
            message: e.to_string(),
        };
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(program)?;
        // Also when this future is dropped in the middle.
        let _group = Group::of(child.id());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let whole = async { tokio::join!(read(out), read(err), child.wait()) };
        let Ok((out, err, status)) = tokio::time::timeout(self.timeout, whole).await else {
            return Err(GitError::Unreachable {
                url: shown(url),
                message: format!("no whole answer in {} s", self.timeout.as_secs()),
            });
        };
        if status.map_err(program)?.success() {
            return Ok(out);
        }
        Err(classify(&remote, &err, access))
    }
}

/// Kills whatever is left of a process and all that it started.
struct Group(Option<Pid>);

impl Group {
    fn of(id: Option<u32>) -> Self {
        Self(
            id.and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Nothing left is the usual case.
            let _nothing_left = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut bounded = stream.take(ANSWER);
        // What was read before an error is all there is; the exit status says that something is missing.
        let _partly = bounded.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is asked for, so that the server sends no more: peeled tags, too.
fn patterns(name: &str) -> Vec<String> {
    if name == "HEAD" || name.starts_with("refs/") {
        return vec![name.to_owned(), format!("{name}^{{}}")];
    }
    vec![
        format!("refs/heads/{name}"),
        format!("refs/tags/{name}"),
        format!("refs/tags/{name}^{{}}"),
    ]
}

fn lines(answer: &str) -> impl Iterator<Item = (&str, &str)> {
    answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(commit, _)| {
            matches!(commit.len(), 40 | 64) && commit.chars().all(|c| c.is_ascii_hexdigit())
        })
}

/// A branch wins over a tag of the same name, and a tag's commit over the tag itself.
fn pick(answer: &str, name: &str) -> Option<String> {
    let refs: BTreeMap<&str, &str> = lines(answer).map(|(commit, name)| (name, commit)).collect();
    [
        name.to_owned() + "^{}",
        name.to_owned(),
        format!("refs/heads/{name}"),
        format!("refs/tags/{name}^{{}}"),
        format!("refs/tags/{name}"),
    ]
    .iter()
    .find_map(|wanted| refs.get(wanted.as_str()))
    .map(|commit| (*commit).to_owned())
}

/// What there is instead, in words.
fn known(answer: &str, name: &str) -> String {
    let of = |prefix: &str| -> Vec<String> {
        lines(answer)
            .filter_map(|(_, name)| name.strip_prefix(prefix))
            .filter(|name| !name.ends_with("^{}"))
            .map(|name| text::line(name, 80))
            .collect()
    };
    let mut text = String::new();
    for (what, all) in [("branches", of("refs/heads/")), ("tags", of("refs/tags/"))] {
        if all.is_empty() {
            continue;
        }
        let more = all.len().saturating_sub(NAMED);
        let some: Vec<&str> = all.iter().take(NAMED).map(String::as_str).collect();
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing into a String does not fail.
        let _ = write!(text, "{separator}its {what} are {}", some.join(", "));
        if more > 0 {
            let _ = write!(text, " and {more} more");
        }
    }
    if text.is_empty() {
        text.push_str("it is empty");
    }
    if (4..40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_hexdigit()) {
        text.push_str(" (a commit is written whole, with its 40 digits)");
    }
    text
}

/// What git's words mean, and what to do.
fn classify(remote: &Remote<'_>, said: &str, access: Option<Access<'_>>) -> GitError {
    let credentials = access.map_or_else(
        || "no credentials were given".to_owned(),
        |a| format!("with the credentials of Secret {}", a.secret),
    );
    let url = shown(remote.url);
    match trouble(said) {
        Trouble::Denied => GitError::Refused {
            url,
            credentials,
            advice: access.map_or_else(
                || {
                    "name a Secret with username and password, or token, in source.git.secretRef"
                        .to_owned()
                },
                |a| {
                    format!(
                        "check username and password, or token, in Secret {}, and what they may read",
                        a.secret
                    )
                },
            ),
        },
        Trouble::NoRepository => GitError::NoSuchRepository { url, credentials },
        Trouble::Away | Trouble::Other => GitError::Unreachable {
            url,
            message: remote.redacted(&last_words(said)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Found, Git, GitError, known, pick};
    use crate::{
        domain::app::GitTarget,
        zone::input::{GitCredentials, GitLimits, Secret},
    };
    use std::{
        collections::BTreeMap,
        path::Path,
        process::Command,
        time::{Duration, Instant},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    fn git() -> Git {
        let limits = GitLimits {
            protocols: vec!["file".into(), "http".into()],
            max_bytes: 0,
            max_files: 0,
            timeout_seconds: 20,
        };
        Git::new(&limits, None, &BTreeMap::new()).unwrap()
    }

    fn shell(folder: &Path, script: &str) -> String {
        let output = Command::new("bash")
            .arg("-euc")
            .arg(script)
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn repository() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        shell(
            folder.path(),
            "export GIT_CONFIG_GLOBAL=/dev/null
             git init -q -b trunk .; git config user.email a@b; git config user.name n
             git commit -q --allow-empty -m one; git tag light; git tag -a heavy -m heavy
             git commit -q --allow-empty -m two; git branch side; git tag side HEAD~1",
        );
        let url = format!("file://{}", folder.path().display());
        (folder, url)
    }

    #[tokio::test]
    async fn branches_tags_and_the_default_branch_are_found() {
        let (folder, url) = repository();
        let rev = |name: &str| shell(folder.path(), &format!("git rev-parse '{name}'"));
        for (target, commit) in [
            (GitTarget::Default, rev("trunk")),
            (GitTarget::Named("trunk".into()), rev("trunk")),
            (GitTarget::Named("light".into()), rev("trunk~1")),
            // The commit, not the tag object.
            (GitTarget::Named("heavy".into()), rev("trunk~1")),
            // A branch wins over a tag.
            (GitTarget::Named("side".into()), rev("trunk")),
            (GitTarget::Named("refs/tags/side".into()), rev("trunk~1")),
        ] {
            let found = git().resolve(&url, &target, None).await.unwrap();
            let name = target.named().unwrap_or("HEAD").to_owned();
            assert_eq!(
                found,
                Found {
                    commit,
                    r#ref: name
                }
            );
        }
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
    async fn a_missing_ref_says_what_there_is() {
        let (_folder, url) = repository();
        let error = git()
            .resolve(&url, &GitTarget::Named("main".into()), None)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, GitError::NoSuchRef { .. }), "{text}");
        assert!(
            text.contains("its branches are side, trunk; its tags are heavy, light, side"),
            "{text}"
        );
        let text = git()
            .resolve(&url, &GitTarget::Named("abc1234".into()), None)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("40 digits"), "{text}");
    }

    #[tokio::test]
    async fn what_is_missing_or_away_is_told_apart() {
        let missing = git()
            .resolve("file:///nonexistent/x", &GitTarget::Default, None)
            .await
            .unwrap_err();
        assert!(
            matches!(missing, GitError::NoSuchRepository { .. }),
            "{missing}"
        );
        let away = git()
            .resolve("http://127.0.0.1:1/x.git", &GitTarget::Default, None)
            .await
            .unwrap_err();
        assert!(matches!(away, GitError::Unreachable { .. }), "{away}");
        let token = git()
            .resolve(
                "http://127.0.0.1:1/x.git?token=hunter2",
                &GitTarget::Default,
                None,
            )
            .await
            .unwrap_err();
        assert!(!token.to_string().contains("hunter2"), "{token}");
        let forbidden = git()
            .resolve("git://127.0.0.1:1/x.git", &GitTarget::Default, None)
            .await
            .unwrap_err();
        assert!(forbidden.to_string().contains("not allowed"), "{forbidden}");
    }

    /// A server that wants credentials and takes none; tells each request's head.
    async fn strict_server() -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x.git", listener.local_addr().unwrap());
        let (tell, told) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 8192];
                let n = stream.read(&mut buffer).await.unwrap_or(0);
                tell.send(String::from_utf8_lossy(&buffer[..n]).into_owned())
                    .ok();
                let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        (url, told)
    }

    #[tokio::test]
    async fn refused_credentials_name_their_secret_and_do_not_show() {
        let (url, mut told) = strict_server().await;
        let error = git()
            .resolve(&url, &GitTarget::Default, None)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("source.git.secretRef"),
            "{error}"
        );
        let credentials = GitCredentials {
            username: "me".into(),
            password: Secret("hunter2".into()),
        };
        let access = Access {
            secret: "git-login",
            credentials: &credentials,
        };
        let error = git()
            .resolve(&url, &GitTarget::Default, Some(access))
            .await
            .unwrap_err();
        assert!(matches!(error, GitError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("Secret git-login"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let mut seen = String::new();
        while let Ok(head) = told.try_recv() {
            seen.push_str(&head);
        }
        // "me:hunter2"
        assert!(
            seen.contains("Authorization: Basic bWU6aHVudGVyMg=="),
            "{seen}"
        );
    }

    #[tokio::test]
    async fn line_breaks_in_credentials_are_refused() {
        let credentials = GitCredentials {
            username: "me".into(),
            password: Secret("a\nhost=evil".into()),
        };
        let access = Access {
            secret: "s",
            credentials: &credentials,
        };
        let error = git()
            .resolve("http://127.0.0.1:1/x", &GitTarget::Default, Some(access))
            .await
            .unwrap_err();
        assert_eq!(error, GitError::Credentials { secret: "s".into() });
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x.git", listener.local_addr().unwrap());
        let mut git = git();
        git.timeout = Duration::from_millis(300);
        let began = Instant::now();
        let error = git
            .resolve(&url, &GitTarget::Default, None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no whole answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_is_no_ref_is_not_read() {
        let answer = "warning: x\nzz\trefs/heads/main\n0123\trefs/heads/main\n";
        assert_eq!(pick(answer, "main"), None);
        assert_eq!(known("", "main"), "it is empty");
        let hostile = format!("{}\trefs/heads/a\u{1b}[2Kb\u{202e}c\n", "0".repeat(40));
        assert_eq!(known(&hostile, "main"), "its branches are abc");
    }
}
