//! `slipway logs`: a Build's log → standard output.
//!
//! The App's code wrote most of the log, so only what [`slipway_base::text`] lets through is printed: of everything
//! that controls a terminal, only colours, and these only to a terminal. The operator keeps and serves the bytes as
//! they were written, so that positions stay valid. Other clients have to filter them themselves.
//!
//! Exit codes: 0 the whole log was shown (or standard output was closed), 1 anything else failed, 3 there is no such
//! Build or log, 4 not allowed, 5 the cluster or the operator cannot be reached.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use futures::{AsyncReadExt as _, io::AsyncRead};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::DeserializeGuard,
};
use serde_json::json;
use slipway_crds::v1alpha1::Build;
use tokio::time::sleep;

use crate::logs;
use slipway_base::text::{self, Filter};
use slipway_core::order;
use slipway_k8s::classify::chain;

/// What to show.
#[derive(Debug, Subcommand)]
pub enum LogsArgs {
    /// Shows the log of a Build, while it runs or after it has ended.
    Build(BuildArgs),
}

/// Which Build's log, and how to show it.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Name of the Build.
    #[arg(required_unless_present = "app", conflicts_with = "app")]
    name: Option<String>,
    /// The newest Build of this App.
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Namespace. Default: the kubeconfig's.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Context of the kubeconfig. Default: its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Follows the log until the Build is over.
    #[arg(short, long)]
    follow: bool,
    /// Format of the output.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The lines as they are.
    Text,
    /// One JSON object a line: `{"line": "…"}`.
    Json,
}

/// Why a log was not shown.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no Kubernetes cluster to ask: set KUBECONFIG, or give --context")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "no Build {name:?} in namespace {namespace:?}: `kubectl get builds -n {namespace}` lists them"
    )]
    NoBuild { name: String, namespace: String },
    #[error("App {app:?} in namespace {namespace:?} has no Build")]
    NoBuildOf { app: String, namespace: String },
    #[error("no log: {0}")]
    NoLog(String),
    #[error("not allowed: {0}")]
    Forbidden(String),
    #[error(
        "the operator does not serve build logs just now ({0}): look at its pods and at `kubectl get apiservice v1alpha1.logs.slipway.dev`"
    )]
    Operator(String),
    #[error("too many logs are read at once: {0}")]
    TooMany(String),
    #[error("the cluster cannot be reached: {0}")]
    Cluster(String),
    #[error("the log cannot be shown")]
    Write(#[source] io::Error),
    #[error("the log broke off, and the command could not continue it")]
    Broken(#[source] io::Error),
}

impl Error {
    fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Write(_) => 1,
            Self::NoBuild { .. } | Self::NoBuildOf { .. } | Self::NoLog(_) => 3,
            Self::Forbidden(_) => 4,
            Self::Operator(_) | Self::TooMany(_) | Self::Cluster(_) | Self::Broken(_) => 5,
        }
    }
}

/// Most bytes of an error that are shown, because others may have written part of it.
const LONGEST_ERROR: usize = 4096;

/// Shows the log on `out`, and what went wrong on `err`. `terminal` says whether `out` is a terminal. Returns the exit
/// code.
pub async fn run(
    args: LogsArgs,
    out: &mut (impl Write + Send),
    terminal: bool,
    err: &mut (impl Write + Send),
) -> u8 {
    let LogsArgs::Build(args) = args;
    match build(args, out, terminal).await {
        Ok(()) => 0,
        // The reader has closed the pipe.
        Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            let said = text::lines(&chain(&error), LONGEST_ERROR);
            let _ = writeln!(err, "slipway: {said}");
            error.code()
        }
    }
}

async fn build(
    args: BuildArgs,
    out: &mut (impl Write + Send),
    terminal: bool,
) -> Result<(), Error> {
    let config = config(args.context).await?;
    let namespace = args
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| Error::Config(error.into()))?;
    let name = find(&client, &namespace, args.name, args.app).await?;
    let mut printer = Printer::new(args.output, terminal, out);
    let shown = show(&client, &namespace, &name, args.follow, &mut printer).await;
    let ended = printer.finish().map_err(Error::Write);
    shown.and(ended)
}

async fn config(context: Option<String>) -> Result<Config, Error> {
    let wrong = |error: kube::config::KubeconfigError| Error::Config(error.into());
    let mut config = match context {
        None => Config::infer()
            .await
            .map_err(|error| Error::Config(error.into()))?,
        Some(context) => {
            let options = KubeConfigOptions {
                context: Some(context),
                ..KubeConfigOptions::default()
            };
            let file = Kubeconfig::read().map_err(wrong)?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(wrong)?
        }
    };
    // A build may be silent for a long time.
    config.read_timeout = None;
    // Otherwise the client itself would retry silently for minutes.
    config.default_retry = false;
    Ok(config)
}

/// The Build's name: as given, or that of an App's newest Build. Checks that the Build exists, so that a later "not
/// found" means the log.
async fn find(
    client: &Client,
    namespace: &str,
    name: Option<String>,
    app: Option<String>,
) -> Result<String, Error> {
    let builds: Api<Build> = Api::namespaced(client.clone(), namespace);
    let Some(app) = app else {
        let name = name.unwrap_or_default();
        return match builds.get_metadata_opt(&name).await.map_err(refused)? {
            Some(_) => Ok(name),
            None => Err(Error::NoBuild {
                name,
                namespace: namespace.to_owned(),
            }),
        };
    };
    let of_app = ListParams::default().fields(&format!("spec.app.name={app}"));
    // A newer operator's Build that this program cannot read hides no other.
    let builds: Api<DeserializeGuard<Build>> = Api::namespaced(client.clone(), namespace);
    let found = builds.list(&of_app).await.map_err(refused)?;
    let found: Vec<Build> = found.into_iter().filter_map(|build| build.0.ok()).collect();
    order::newest(&found)
        .map(Build::name_any)
        .ok_or(Error::NoBuildOf {
            app,
            namespace: namespace.to_owned(),
        })
}

/// How often in a row `slipway logs` reconnects without receiving a byte. Within these two minutes an operator
/// restarts, even on a slow machine.
const TRIES: u32 = 120;
/// Delay before each try.
const PAUSE: Duration = Duration::from_secs(1);

async fn show<W: Write>(
    client: &Client,
    namespace: &str,
    name: &str,
    follow: bool,
    printer: &mut Printer<'_, W>,
) -> Result<(), Error> {
    let mut position: u64 = 0;
    let mut opened = false;
    let mut tries = 0;
    loop {
        let path = format!(
            "{}?follow={follow}&skipBytes={position}",
            logs::path(namespace, name)
        );
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| Error::NoLog(error.to_string()))?;
        let broken = match client.request_stream(request).await {
            Ok(stream) => {
                opened = true;
                let before = position;
                let ended = copy(stream, printer, &mut position).await?;
                if position > before {
                    tries = 0;
                }
                match ended {
                    None => return Ok(()),
                    Some(broken) => Error::Broken(broken),
                }
            }
            Err(error) => served(error),
        };
        // An operator that restarts is back soon. If it has never answered, do not wait for it.
        let again = opened
            && matches!(
                broken,
                Error::Broken(_) | Error::Operator(_) | Error::TooMany(_) | Error::Cluster(_)
            );
        tries += 1;
        if !again || tries > TRIES {
            return Err(broken);
        }
        sleep(PAUSE).await;
    }
}

/// Prints until the log ends (`None`) or breaks off (the error).
async fn copy<W: Write>(
    mut stream: impl AsyncRead + Unpin,
    printer: &mut Printer<'_, W>,
    position: &mut u64,
) -> Result<Option<io::Error>, Error> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return Ok(None),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                printer.push(bytes).map_err(Error::Write)?;
                *position += bytes.len() as u64;
            }
            Err(error) => return Ok(Some(error)),
        }
    }
}

/// An error of the API server about Builds.
fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if status.code == 403 || status.code == 401 => {
            Error::Forbidden(status.message)
        }
        kube::Error::Api(status) if status.is_not_found() => Error::NoLog(
            "the cluster does not know Builds: the operator is not installed".to_owned(),
        ),
        error => Error::Cluster(error.to_string()),
    }
}

/// An error about the log of a Build that exists.
fn served(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => match status.code {
            401 | 403 => Error::Forbidden(status.message),
            404 if status.message.contains("Build") => Error::NoLog(status.message),
            // The API server's own answer if the API of build logs is not registered, or its server is gone.
            404 => Error::Operator("its API is not registered".to_owned()),
            429 => Error::TooMany(status.message),
            _ => Error::Operator(status.message),
        },
        error => Error::Cluster(error.to_string()),
    }
}

/// The log's bytes → the output.
struct Printer<'a, W> {
    output: Output,
    filter: Filter,
    pending: String,
    out: &'a mut W,
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(output: Output, terminal: bool, out: &'a mut W) -> Self {
        Self {
            output,
            filter: Filter::new(terminal && output == Output::Text),
            pending: String::new(),
            out,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let seen = self.filter.push(bytes);
        self.print(&seen)
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        if self.output == Output::Text {
            self.out.write_all(text.as_bytes())?;
            return self.out.flush();
        }
        for piece in text.split_inclusive('\n') {
            self.pending.push_str(piece);
            if piece.ends_with('\n') {
                self.line()?;
            }
        }
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        let rest = self.filter.finish();
        self.print(&rest)?;
        if !self.pending.is_empty() {
            self.line()?;
        }
        self.out.flush()
    }

    fn line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.pending);
        let text = line.strip_suffix('\n').unwrap_or(&line);
        let mut object = String::new();
        // Writing to a String does not fail.
        let _ = write!(object, "{}", json!({"line": text}));
        writeln!(self.out, "{object}")
    }
}

#[cfg(test)]
mod tests;
