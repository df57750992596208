//! Fetches the tree of one commit from a git server. Git and every process that it started are killed when the fetch
//! takes too long or gets too large.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::{NamedTempFile, TempDir};
use tokio::io::AsyncReadExt;

use crate::archive::{ArchiveError, Dir, Limits, extract};
use slipway_base::{
    reference::is_reference,
    text::{self, public_url},
    zone::input::{GitCredentials, GitLimits},
};
use slipway_remotes::{
    git::{
        Credentials, Remote, Trouble, bundle,
        client::{Client, ClientError},
        last_words, trouble,
    },
    web::Web,
};

/// Most bytes that are kept of git's output.
const SAID: u64 = 16 * 1024;
/// Longest wait for a server's first answer, in seconds.
const SECONDS: u64 = 60;
/// How often the size of the fetched data is checked.
const LOOK: Duration = Duration::from_millis(250);

/// Why a commit cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address cannot be used.
    #[error("git address {url}: {why}")]
    Address {
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server asks for credentials, or refuses those that it got.
    #[error("the git server does not let us read {url}: {hint}")]
    Denied {
        /// The address.
        url: String,
        /// How to solve it.
        hint: &'static str,
    },
    /// There is no such repository.
    #[error(
        "there is no git repository at {url}, or it needs credentials (spec.source.git.secretRef)"
    )]
    NoRepository {
        /// The address.
        url: String,
    },
    /// There is no such commit, branch or tag.
    #[error("{url} has no {what}; was it force-pushed, or deleted?")]
    NotFound {
        /// The address.
        url: String,
        /// What was asked for.
        what: String,
    },
    /// The server cannot be reached, or closed the connection.
    #[error("cannot fetch from {url}: {said}")]
    Unreachable {
        /// The address.
        url: String,
        /// What git said.
        said: String,
    },
    /// Anything else.
    #[error("cannot fetch from {url}: {said}")]
    Failed {
        /// The address.
        url: String,
        /// What git said.
        said: String,
    },
    /// The fetch took too long.
    #[error("fetching from {url} took longer than {seconds} s")]
    TooSlow {
        /// The address.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// The repository is too large.
    #[error("{url} is larger than the {limit} MB that are allowed")]
    TooLarge {
        /// The address.
        url: String,
        /// In megabytes.
        limit: u64,
    },
    /// The tree has something that Slipway cannot build.
    #[error("{0}")]
    Tree(String),
    /// The tree cannot be unpacked.
    #[error("cannot unpack commit {commit}: {error}")]
    Unpack {
        /// The commit.
        commit: String,
        /// Why not.
        error: ArchiveError,
    },
    /// Git itself cannot be run.
    #[error("cannot run git: {0}")]
    Run(#[from] io::Error),
}

impl GitError {
    /// The error for a submodule where the App needs files.
    pub fn submodule(path: &str) -> Self {
        Self::Tree(format!(
            "the repository has a submodule at {}: submodules are not supported; add its files to the repository, or take it as a dependency",
            text::line(path, 300)
        ))
    }

    /// Whether another try soon may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether another try later may help.
    pub fn may_pass(&self) -> bool {
        self.is_transient() || matches!(self, Self::TooSlow { .. })
    }
}

/// How to reach a git server.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// Address of the repository.
    pub url: &'a str,
    /// Credentials for the server.
    pub credentials: Option<&'a GitCredentials>,
    /// PEM certificates that are trusted instead of the system's.
    pub ca_pem: Option<&'a str>,
    /// Which servers git may connect to.
    pub web: &'a Web,
    /// Environment variables for proxies.
    pub env: &'a BTreeMap<String, String>,
    /// Limits.
    pub limits: &'a GitLimits,
}

/// The checked address of a repository. Git connects to this address and resolves no name again.
#[derive(Debug, Default)]
struct Reached {
    url: String,
    pinned: Option<String>,
    virtual_host: Option<String>,
    /// Whether it is on the server that the source's address names.
    own: bool,
    /// Whether nobody on the network path can read the requests.
    private: bool,
}

impl Reached {
    /// Whether git may send credentials to it, also if the server asks for them only later.
    fn is_told(&self) -> bool {
        self.own && self.private
    }
}

impl Access<'_> {
    /// Checks the address and the credentials before they are used.
    pub fn check(&self) -> Result<(), GitError> {
        let refuse = |why: String| {
            Err(GitError::Address {
                url: self.shown(),
                why,
            })
        };
        let url = self.url;
        let Some((scheme, rest)) = url.split_once("://") else {
            return refuse("SSH addresses are not supported, use https".to_owned());
        };
        if scheme == "ssh" || scheme == "git+ssh" {
            return refuse("SSH addresses are not supported, use https".to_owned());
        }
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) || rest.is_empty() {
            return refuse("it is no address".to_owned());
        }
        if rest.split('/').next().unwrap_or_default().contains('@') {
            return refuse(
                "credentials belong into a Secret (spec.source.git.secretRef)".to_owned(),
            );
        }
        if !self.limits.protocols.iter().any(|p| p == scheme) {
            return refuse(format!(
                "{scheme} is not among the protocols that are allowed here ({})",
                self.limits.protocols.join(", ")
            ));
        }
        if self.remote().credentials.is_some_and(|c| !c.fit()) {
            return refuse("the credentials have more than one line".to_owned());
        }
        Ok(())
    }

    /// The address for messages, without its query, which may hold a token.
    pub fn shown(&self) -> String {
        public_url(self.url)
    }

    fn credentials(&self) -> Option<Credentials<'_>> {
        self.credentials.map(|c| Credentials {
            username: &c.username,
            password: &c.password.0,
        })
    }

    /// Finds the repository: follows the redirects of a web server and checks each address.
    async fn reach(&self) -> Result<Reached, GitError> {
        let seconds = self.limits.timeout_seconds.clamp(1, SECONDS);
        let client = Client::new(
            self.web.clone(),
            self.limits.protocols.clone(),
            Duration::from_secs(seconds),
        );
        let scheme = self.url.split("://").next().unwrap_or_default();
        match scheme {
            "http" | "https" => {
                let place = client.place(self.url, self.credentials()).await;
                let place = place.map_err(|error| self.unreached(error))?;
                Ok(Reached {
                    pinned: place.pinned(),
                    own: place.own,
                    private: place.server.private,
                    url: place.base,
                    virtual_host: None,
                })
            }
            "git" => {
                let server = client.daemon(self.url).await;
                let server = server.map_err(|error| self.unreached(error))?;
                Ok(Reached {
                    url: server.url,
                    virtual_host: Some(server.host),
                    ..Reached::default()
                })
            }
            // Repositories on this machine, for tests: no setting allows them.
            _ => Ok(Reached {
                url: self.url.to_owned(),
                ..Reached::default()
            }),
        }
    }

    fn unreached(&self, error: ClientError) -> GitError {
        let url = self.shown();
        match error {
            ClientError::Denied => self.denied(),
            ClientError::NoRepository => GitError::NoRepository { url },
            ClientError::Readable | ClientError::Refused(_) => GitError::Address {
                url,
                why: error.to_string(),
            },
            ClientError::Away(said) => GitError::Unreachable { url, said },
            ClientError::Other(said) => GitError::Failed { url, said },
        }
    }

    fn denied(&self) -> GitError {
        GitError::Denied {
            url: self.shown(),
            hint: if self.credentials.is_some() {
                "check the Secret that spec.source.git.secretRef names"
            } else {
                "put credentials into a Secret and name it in spec.source.git.secretRef"
            },
        }
    }

    fn remote(&self) -> Remote<'_> {
        Remote {
            url: self.url,
            pinned: None,
            virtual_host: None,
            credentials: self.credentials(),
            protocols: &self.limits.protocols,
            certificates: None,
            env: self.env,
        }
    }

    /// A git command whose environment holds only what is set here. The file with certificates has to exist as long as
    /// the process.
    fn git(&self, reached: Option<&Reached>) -> Result<(Command, Option<NamedTempFile>), GitError> {
        let bundle = self.ca_pem.map(bundle).transpose()?;
        let remote = Remote {
            certificates: bundle.as_ref().map(NamedTempFile::path),
            credentials: None,
            ..self.remote()
        };
        let remote = match reached {
            None => remote,
            Some(reached) => Remote {
                url: &reached.url,
                pinned: reached.pinned.as_deref(),
                virtual_host: reached.virtual_host.as_deref(),
                credentials: self.credentials().filter(|_| reached.is_told()),
                ..remote
            },
        };
        let mut command = remote.command();
        for setting in [
            "core.symlinks=true",
            "gc.auto=0",
            "maintenance.auto=false",
            "fetch.recurseSubmodules=false",
            "fetch.writeCommitGraph=false",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=60",
            // The modes that a stored source has, so that a build and its repetition see the same tree.
            "tar.umask=0022",
            "transfer.fsckObjects=true",
        ] {
            command.args(["-c", setting]);
        }
        Ok((command, bundle))
    }

    /// Turns git's message into an error.
    pub fn error(&self, said: &str) -> GitError {
        let url = self.shown();
        let words = || self.remote().redacted(&last_words(said));
        match trouble(said) {
            Trouble::Denied => self.denied(),
            Trouble::NoRepository => GitError::NoRepository { url },
            Trouble::Away => GitError::Unreachable { url, said: words() },
            Trouble::Other => GitError::Failed { url, said: words() },
        }
    }

    /// Runs git to its end, within the limits on time and on the size of the folder `watched`. Returns whether it
    /// succeeded, its standard output and its standard error.
    async fn run(
        &self,
        args: &[&str],
        watched: Option<&Path>,
    ) -> Result<(bool, String, String), GitError> {
        self.run_at(None, args, watched).await
    }

    /// Like `run`, for commands that talk to a server.
    async fn run_at(
        &self,
        reached: Option<&Reached>,
        args: &[&str],
        watched: Option<&Path>,
    ) -> Result<(bool, String, String), GitError> {
        let (mut command, _bundle) = self.git(reached)?;
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id();
        let kill = || {
            if let Some(pid) = group.and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let said = async { futures::join!(hear(out), hear(err)) };
        let work = async {
            let (said, status) = futures::join!(said, child.wait());
            status.map(|status| (status.success(), said))
        };
        tokio::pin!(work);
        let deadline = Instant::now() + Duration::from_secs(self.limits.timeout_seconds);
        loop {
            tokio::select! {
                done = &mut work => {
                    kill();
                    let (success, (out, err)) = done?;
                    return Ok((success, out, err));
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if Instant::now() > deadline {
                kill();
                return Err(GitError::TooSlow {
                    url: self.shown(),
                    seconds: self.limits.timeout_seconds,
                });
            }
            if watched.is_some_and(|dir| size_of(dir) > self.limits.max_bytes) {
                kill();
                return Err(self.too_large());
            }
        }
    }

    fn too_large(&self) -> GitError {
        GitError::TooLarge {
            url: self.shown(),
            limit: self.limits.max_bytes / 1_000_000,
        }
    }

    /// Fetches one commit, with as little history as the server allows. `reference` is the branch or tag that named the
    /// commit; it is used for servers that do not serve single commits.
    pub async fn fetch(&self, commit: &str, reference: Option<&str>) -> Result<Fetched, GitError> {
        let format = if commit.len() == 64 { "sha256" } else { "sha1" };
        let repository = self.start(format).await?;
        let whole = commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
        if !whole {
            return Err(GitError::NotFound {
                url: self.shown(),
                what: format!("commit {commit:?}: it is no whole commit id"),
            });
        }
        let mut ways: Vec<(bool, String)> = vec![(true, commit.to_owned())];
        if let Some(reference) = reference.filter(|r| is_reference(r)) {
            ways.push((true, reference.to_owned()));
            ways.push((false, reference.to_owned()));
        }
        ways.push((false, "+refs/*:refs/*".to_owned()));
        let reached = self.reach().await?;
        let mut first = None;
        for (shallow, refspec) in ways {
            match self.pull(&reached, &repository, shallow, &refspec).await {
                Ok(()) if self.has(&repository, commit).await? => {
                    return Ok(Fetched {
                        repository,
                        commit: commit.to_owned(),
                    });
                }
                Ok(()) => {}
                // The server refuses this way; the next one is tried.
                Err(error @ GitError::Failed { .. }) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match first {
            Some(GitError::Failed { said, .. }) if !missing(&said) => Err(GitError::Failed {
                url: self.shown(),
                said,
            }),
            _ => Err(GitError::NotFound {
                url: self.shown(),
                what: format!("commit {commit}"),
            }),
        }
    }

    /// Fetches the present commit of a branch or tag, or a commit; `None` is the default branch.
    pub async fn fetch_reference(&self, reference: Option<&str>) -> Result<Fetched, GitError> {
        let repository = self.start("sha1").await?;
        let wanted = reference.unwrap_or("HEAD");
        let not_found = || GitError::NotFound {
            url: self.shown(),
            what: format!("branch, tag or commit {wanted:?}"),
        };
        if !is_reference(wanted) {
            return Err(not_found());
        }
        let reached = self.reach().await?;
        match self.pull(&reached, &repository, true, wanted).await {
            Ok(()) => {}
            Err(GitError::Failed { said, .. }) if missing(&said) => {
                // The reference is a short commit id, or the server does not serve single commits: everything is
                // fetched and searched.
                self.pull(&reached, &repository, false, "+refs/*:refs/*")
                    .await?;
            }
            Err(error) => return Err(error),
        }
        let dir = repository.path().display().to_string();
        let git_dir = format!("--git-dir={dir}");
        for name in ["FETCH_HEAD", wanted] {
            let spec = format!("{name}^{{commit}}");
            let (found, out, _) = self
                .run(
                    &[
                        &git_dir,
                        "rev-parse",
                        "--verify",
                        "--quiet",
                        "--end-of-options",
                        &spec,
                    ],
                    None,
                )
                .await?;
            let fetched_all =
                name == "FETCH_HEAD" && !repository.path().join("FETCH_HEAD").exists();
            if found && !fetched_all {
                return Ok(Fetched {
                    repository,
                    commit: out.trim().to_owned(),
                });
            }
        }
        Err(not_found())
    }

    /// An empty repository. Its hash format has to be the server's, or it can fetch nothing.
    async fn start(&self, format: &str) -> Result<TempDir, GitError> {
        self.check()?;
        let repository = tempfile::tempdir()?;
        let dir = repository.path().display().to_string();
        let format = format!("--object-format={format}");
        let init = ["init", "--bare", "--quiet", "--template=", &format];
        let (success, _, said) = self.run(&[&init[..], &["--", &dir]].concat(), None).await?;
        if !success {
            return Err(GitError::Run(io::Error::other(last_words(&said))));
        }
        Ok(repository)
    }

    async fn pull(
        &self,
        reached: &Reached,
        repository: &TempDir,
        shallow: bool,
        refspec: &str,
    ) -> Result<(), GitError> {
        let git_dir = format!("--git-dir={}", repository.path().display());
        let mut args = vec![git_dir.as_str(), "fetch", "--quiet", "--no-tags"];
        if shallow {
            args.push("--depth=1");
        }
        if refspec.starts_with('+') {
            // The FETCH_HEAD of all branches together is of no use.
            args.push("--no-write-fetch-head");
        }
        args.extend(["--", &reached.url, refspec]);
        let watched = Some(repository.path());
        let (success, _, said) = self.run_at(Some(reached), &args, watched).await?;
        if !success {
            // The address after a redirect may also hold a token.
            let remote = Remote {
                url: &reached.url,
                ..self.remote()
            };
            let error = self.error(&remote.redacted(&said));
            let withheld = reached.own && !reached.is_told() && self.credentials.is_some();
            return Err(match error {
                GitError::Denied { .. } if withheld => self.unreached(ClientError::Readable),
                other => other,
            });
        }
        if size_of(repository.path()) > self.limits.max_bytes {
            return Err(self.too_large());
        }
        Ok(())
    }

    async fn has(&self, repository: &TempDir, commit: &str) -> Result<bool, GitError> {
        let git_dir = format!("--git-dir={}", repository.path().display());
        let spec = format!("{commit}^{{tree}}");
        let (success, _, _) = self.run(&[&git_dir, "cat-file", "-e", &spec], None).await?;
        Ok(success)
    }

    /// Writes the tree of a commit into a folder, as a checkout does. Returns the paths of its submodules, which are
    /// empty folders.
    pub async fn unpack(&self, fetched: &Fetched, into: PathBuf) -> Result<Vec<String>, GitError> {
        let dir = fetched.repository.path();
        let git_dir = format!("--git-dir={}", dir.display());
        let limits = Limits {
            entries: self.limits.max_files,
            bytes: self.limits.max_bytes,
        };
        let unpack = |error| GitError::Unpack {
            commit: fetched.commit.clone(),
            error,
        };
        let (mut command, _bundle) = self.git(None)?;
        command
            .args([&git_dir, "ls-tree", "-r", "-t", "-z", "--full-tree"])
            .arg(&fetched.commit)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let submodules = tokio::task::spawn_blocking(move || submodules(command, limits))
            .await
            .map_err(io::Error::other)??
            .map_err(unpack)?;
        // These attributes tell git archive to leave out or change files.
        let folder = dir.join("info");
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join("attributes"),
            "* -export-ignore -export-subst\n",
        )?;
        let (mut command, _bundle) = self.git(None)?;
        command
            .args([&git_dir, "archive", "--format=tar", &fetched.commit])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let unpacked = tokio::task::spawn_blocking(move || archive(command, &into, limits))
            .await
            .map_err(io::Error::other)??;
        unpacked.map_err(unpack)?;
        Ok(submodules)
    }
}

/// The submodules of a tree. A few objects that name each other can make a tree of any size, also of empty folders,
/// which `git archive` leaves out. So entries are counted while git lists them.
fn submodules(
    mut command: Command,
    limits: Limits,
) -> io::Result<Result<Vec<String>, ArchiveError>> {
    let mut child = command.spawn()?;
    let Some(output) = child.stdout.take() else {
        return Err(io::Error::other("git ls-tree has no output"));
    };
    let mut entries = 0;
    let mut found = Vec::new();
    for entry in io::BufReader::new(output).split(b'\0') {
        entries += 1;
        if entries > limits.entries {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            child.wait()?;
            return Ok(Err(ArchiveError::TooMuch {
                limit: limits.entries,
                what: "files",
            }));
        }
        let entry = entry?;
        let entry = String::from_utf8_lossy(&entry);
        let submodule = entry.strip_prefix("160000 ");
        if let Some((_, path)) = submodule.and_then(|rest| rest.split_once('\t')) {
            found.push(path.to_owned());
        }
    }
    if !child.wait()?.success() {
        return Err(io::Error::other("git ls-tree failed"));
    }
    Ok(Ok(found))
}

fn archive(
    mut command: Command,
    into: &Path,
    limits: Limits,
) -> io::Result<Result<(), ArchiveError>> {
    let into = Dir::open(into)?;
    let mut child = command.spawn()?;
    let Some(output) = child.stdout.take() else {
        return Err(io::Error::other("git archive has no output"));
    };
    let mut output = io::BufReader::with_capacity(64 * 1024, output);
    let result = extract(&mut output, &into, limits);
    if result.is_ok() {
        // Tar pads an archive after its end. If nobody read the padding, SIGPIPE would end git.
        io::copy(&mut output, &mut io::sink())?;
    } else {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait()?;
    if result.is_ok() && !status.success() {
        return Err(io::Error::other("git archive failed"));
    }
    Ok(result.map(drop))
}

/// A fetched commit.
#[derive(Debug)]
pub struct Fetched {
    repository: TempDir,
    /// The whole commit id.
    pub commit: String,
}

async fn hear(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe)
            .take(SAID.max(64 * 1024 * 1024))
            .read_to_end(&mut bytes)
            .await;
        // Output above the limit is read and dropped; otherwise git would wait forever.
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether git's message says that the server has no such reference, or does not serve single commits.
fn missing(said: &str) -> bool {
    [
        "couldn't find remote ref",
        "not our ref",
        "unadvertised object",
        "Could not find remote ref",
    ]
    .iter()
    .any(|text| said.contains(text))
}

fn size_of(dir: &Path) -> u64 {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}

#[cfg(test)]
mod tests;
