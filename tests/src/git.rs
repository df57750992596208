//! A real git server: `git http-backend` behind HTTP on the node's address, so that pods and build zones reach it.
//! Repositories under `private/` require a user name and a password.

use std::{
    collections::BTreeSet,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command as Program, Stdio},
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use tokio::{io::AsyncWriteExt as _, sync::watch};

use crate::{cluster, root};

/// User name for private repositories.
pub const USER: &str = "deploy";
/// Its password.
pub const PASSWORD: &str = "correct-horse-battery";

/// Names of the repositories whose objects are held back.
type Held = Arc<watch::Sender<BTreeSet<String>>>;

/// A running server. Each test process has one.
pub struct Server {
    folder: PathBuf,
    address: SocketAddr,
    held: Held,
}

impl Server {
    /// The server of this process, started at the first call.
    pub fn shared() -> Result<&'static Self> {
        static SERVER: OnceLock<Result<Server>> = OnceLock::new();
        SERVER
            .get_or_init(start)
            .as_ref()
            .map_err(|e| anyhow!("the git server: {e:#}"))
    }

    /// A new, empty repository. The test has to choose a `name` that no other has.
    pub fn repository(&self, name: &str) -> Result<Repository> {
        let bare = self.folder.join(format!("{name}.git"));
        let work = self.folder.join("work").join(name);
        fs::create_dir_all(&work)?;
        fs::create_dir_all(&bare)?;
        git(
            &bare,
            &["init", "--quiet", "--bare", "--initial-branch=main"],
        )?;
        git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        Ok(Repository {
            url: format!("http://{}/{name}.git", self.address),
            name: name.to_owned(),
            held: self.held.clone(),
            bare,
            work,
        })
    }
}

/// A repository on the server.
pub struct Repository {
    /// Address for an App.
    pub url: String,
    name: String,
    held: Held,
    bare: PathBuf,
    work: PathBuf,
}

impl Repository {
    /// The folder whose content goes into the next commit.
    pub fn folder(&self) -> &Path {
        &self.work
    }

    /// Writes one file of the next commit.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.work.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| path.display().to_string())
    }

    /// Commits the folder to `main` and returns the commit's id.
    pub fn commit(&self, message: &str) -> Result<String> {
        git(&self.work, &["add", "--all"])?;
        git(
            &self.work,
            &["commit", "--quiet", "--allow-empty", "--message", message],
        )?;
        let bare = self.bare.to_string_lossy();
        git(
            &self.work,
            &["push", "--quiet", "--force", &bare, "HEAD:main"],
        )?;
        git(&self.work, &["rev-parse", "HEAD"])
    }

    /// Tags the last commit.
    pub fn tag(&self, name: &str) -> Result<()> {
        git(&self.work, &["tag", name])?;
        let bare = self.bare.to_string_lossy();
        git(&self.work, &["push", "--quiet", &bare, name]).map(drop)
    }

    /// Holds back the repository's objects: a fetch waits until the hold is dropped. Look-ups of branches are still
    /// answered.
    pub fn hold(&self) -> Hold {
        self.held.send_modify(|held| {
            held.insert(self.name.clone());
        });
        Hold {
            name: self.name.clone(),
            held: self.held.clone(),
        }
    }

    /// Removes the repository, as if the server had lost it.
    pub fn remove(&self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.bare)?)
    }
}

/// While this exists, the server does not give out the objects of a repository.
pub struct Hold {
    name: String,
    held: Held,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.send_modify(|held| {
            held.remove(&self.name);
        });
    }
}

/// Runs git in `folder`, untouched by the user's own configuration, with fixed names and dates.
pub fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Program::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Test")
        .env("GIT_AUTHOR_EMAIL", "test@example.com")
        .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
        .env("GIT_COMMITTER_NAME", "Test")
        .env("GIT_COMMITTER_EMAIL", "test@example.com")
        .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
        .output()
        .context("running git")?;
    if !output.status.success() {
        bail!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn start() -> Result<Server> {
    let address = cluster::facts()?.node_address;
    let folder = folder()?;
    let listener = std::net::TcpListener::bind((address.as_str(), 0))
        .with_context(|| format!("listening on {address}"))?;
    listener.set_nonblocking(true)?;
    let held = Held::default();
    let server = Server {
        folder: folder.clone(),
        address: listener.local_addr()?,
        held: held.clone(),
    };
    std::thread::Builder::new()
        .name("git-server".to_owned())
        .spawn(move || serve(listener, folder, held))?;
    Ok(server)
}

/// A new folder of this process. The folders of processes that have ended are removed now, because a static is never
/// dropped and so cannot remove its own.
fn folder() -> Result<PathBuf> {
    let all = root().join("target/git");
    let mine = all.join(std::process::id().to_string());
    fs::create_dir_all(&all)?;
    for entry in fs::read_dir(&all)? {
        let folder = entry?.path();
        let process = Path::new("/proc").join(folder.file_name().unwrap_or_default());
        if folder == mine || !process.exists() {
            // Another process that starts at the same time may have removed it.
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    fs::create_dir(&mine).with_context(|| mine.display().to_string())?;
    Ok(mine)
}

fn serve(listener: std::net::TcpListener, folder: PathBuf, held: Held) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = Router::new().fallback(answer).with_state((folder, held));
        axum::serve(listener, router).await?;
        Ok(())
    })
}

async fn answer(
    State((folder, held)): State<(PathBuf, Held)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let account = format!("{USER}:{PASSWORD}");
    let account = base64::engine::general_purpose::STANDARD.encode(account);
    let given = header(&headers, "authorization");
    if uri.path().starts_with("/private/") && given != format!("Basic {account}") {
        let realm = (header::WWW_AUTHENTICATE, "Basic realm=\"git\"");
        return (StatusCode::UNAUTHORIZED, [realm], "who are you?").into_response();
    }
    let wanted = uri.path().trim_start_matches('/').split_once(".git/");
    if let Some((name, "git-upload-pack")) = wanted
        && String::from_utf8_lossy(&body).contains("command=fetch")
    {
        // Never an error: `held` is the sender.
        let _ = held.subscribe().wait_for(|held| !held.contains(name)).await;
    }
    match backend(&folder, &method, &uri, &headers, &body).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
}

/// Answers one request through CGI (RFC 3875).
async fn backend(
    folder: &Path,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response> {
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or(""))
        .env("CONTENT_TYPE", header(headers, "content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header(headers, "content-encoding"))
        .env("GIT_PROTOCOL", header(headers, "git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("git http-backend")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let sent = async move {
        // git may answer before it has read everything.
        let _ = stdin.write_all(body).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), sent);
    response(&output?.stdout)
}

/// A CGI answer → an HTTP answer.
fn response(output: &[u8]) -> Result<Response> {
    let end = output
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("git http-backend answered without headers")?;
    let (head, body) = output.split_at(end);
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(head).lines() {
        let (name, value) = line.split_once(": ").context("a header without a colon")?;
        response = if name == "Status" {
            response.status(value.get(..3).unwrap_or("500"))
        } else {
            response.header(name, value)
        };
    }
    let body = body.get(4..).unwrap_or_default().to_vec();
    Ok(response.body(Body::from(body))?)
}
