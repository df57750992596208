//! Arguments → the cluster's commands, their output and an exit code. Only this file reads the clock and the
//! environment.

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use slipway_cluster::facts::Facts;
use slipway_cluster::layout::Layout;
use slipway_cluster::network::Network;
use slipway_cluster::progress::Progress;
use slipway_cluster::status::{self, Verdict};
use slipway_cluster::{down, files, load, tools, up};

/// One real Kubernetes node on this machine, for tests and the demo.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    places: Places,
    /// The private /16 that the cluster may use.
    #[arg(long, default_value = "10.98.0.0/16", global = true)]
    network: Network,
    /// Progress as JSON, one object a line.
    #[arg(long, global = true)]
    json_log: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args)]
struct Places {
    /// State folder of the cluster while it is up [default: /var/lib/slipway-cluster for root, else
    /// $XDG_STATE_HOME/slipway-cluster].
    #[arg(long, global = true)]
    state: Option<String>,
    /// Folder that keeps built programs [default: $XDG_CACHE_HOME/slipway].
    #[arg(long, global = true)]
    cache: Option<String>,
    #[arg(
        long,
        env = "HOME",
        hide = true,
        default_value = "/root",
        global = true
    )]
    home: String,
    #[arg(long, env = "XDG_STATE_HOME", hide = true, global = true)]
    state_home: Option<String>,
    #[arg(long, env = "XDG_CACHE_HOME", hide = true, global = true)]
    cache_home: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the cluster up; a healthy one is left as it is, an unhealthy one is replaced.
    Up,
    /// Take the cluster down and remove everything but the cache.
    Down,
    /// Show what works; exit with 1 unless everything does.
    Status {
        /// The facts and each component, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the path of the admin's kubeconfig.
    Kubeconfig,
    /// Push an image of the cluster's engine to its registry and print its name for pods.
    Load { image: String },
    /// Build the pinned tools (those that a cluster needs, or those named) and print the folder of their programs; needs no root.
    Tools { names: Vec<String> },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), " !     {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<ExitCode> {
    let root = rustix::process::geteuid().is_root();
    let layout = arguments.places.layout(root)?;
    let mut out = std::io::stdout();
    match &arguments.verb {
        Verb::Up => {
            let mut progress = Progress::new(&mut out, arguments.json_log);
            let _lock = lock(&layout, &mut progress)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "the certificates' dates begin with the clock of this one program"
            )]
            let now = SystemTime::now();
            up::up(&layout, arguments.network, root, now, &mut progress)?;
            progress.note(&format!(
                "export KUBECONFIG={} PATH={}:$PATH",
                layout.kubeconfig("admin"),
                layout.bin()
            ));
        }
        Verb::Down => {
            let mut progress = Progress::new(&mut out, arguments.json_log);
            let _lock = lock(&layout, &mut progress)?;
            if !root && down::there(&layout) {
                bail!("taking a cluster down needs root");
            }
            let left = down::down(&layout, &mut progress)?;
            if !left.is_empty() {
                bail!("left behind: {}", left.join(", "));
            }
        }
        Verb::Status { json } => return report(&layout, arguments.network, *json),
        Verb::Kubeconfig => writeln!(out, "{}", Facts::read(&layout)?.kubeconfig)?,
        Verb::Load { image } => writeln!(out, "{}", load::load(&layout, image)?.pull)?,
        Verb::Tools { names } => {
            let mut err = std::io::stderr();
            let mut progress = Progress::new(&mut err, arguments.json_log);
            let _lock = lock(&layout, &mut progress)?;
            tools::build_missing(&layout, &chosen(names)?, &mut progress)?;
            writeln!(out, "{}", layout.bin())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<tools::Tool>> {
    if names.is_empty() {
        return Ok(tools::ALL.to_vec());
    }
    let known: Vec<tools::Tool> = tools::ALL.into_iter().chain([tools::KWOK]).collect();
    names
        .iter()
        .map(|name| {
            let tool = known.iter().find(|tool| tool.name == name);
            tool.copied().with_context(|| {
                let known: Vec<&str> = known.iter().map(|tool| tool.name).collect();
                format!("no tool {name}: there are {}", known.join(", "))
            })
        })
        .collect()
}

fn report(layout: &Layout, network: Network, as_json: bool) -> Result<ExitCode> {
    let mut out = std::io::stdout();
    let there = down::there(layout);
    let facts = Facts::read(layout);
    let all = if there {
        status::observe(&up::site(layout, network))
    } else {
        vec![]
    };
    let verdict = status::verdict(there, facts.is_ok(), &all);
    let healthy = verdict == Verdict::Healthy;
    if as_json {
        let mut answer = facts.map_or(json!({}), |facts| json!(facts));
        if let Some(object) = answer.as_object_mut() {
            object.insert("healthy".to_owned(), json!(healthy));
            object.insert("components".to_owned(), json!(all));
        }
        writeln!(out, "{answer:#}")?;
    } else {
        for health in &all {
            let word = if health.healthy { "ok" } else { "FAILS" };
            writeln!(out, "{:<24} {word:<6} {}", health.name, health.detail)?;
        }
        let verdict = match verdict {
            Verdict::Absent => "no cluster is up: run `make cluster-up`".to_owned(),
            Verdict::Healthy => format!("healthy; kubeconfig {}", layout.kubeconfig("admin")),
            Verdict::Unhealthy(_) => format!(
                "unhealthy; logs are in {}; `make cluster-up` starts it anew",
                layout.at("logs")
            ),
        };
        writeln!(out, "{verdict}")?;
    }
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Lets only one `up` or `down` run at a time.
fn lock(layout: &Layout, progress: &mut Progress<'_>) -> Result<fs::File> {
    files::folder_at(&layout.cache, 0o755)?;
    let path = format!("{}/lock", layout.cache);
    let file = fs::File::create(&path).with_context(|| format!("opening {path}"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress.step("Waiting for another slipway-cluster to finish");
        flock(&file, FlockOperation::LockExclusive).with_context(|| format!("locking {path}"))?;
        progress.done("it finished");
    }
    Ok(file)
}

impl Places {
    fn layout(&self, root: bool) -> Result<Layout> {
        let below_home = |place: &Option<String>, rest: &str| {
            place
                .clone()
                .unwrap_or_else(|| format!("{}/{rest}", self.home))
        };
        let state = self.state.clone().unwrap_or_else(|| {
            if root {
                "/var/lib/slipway-cluster".to_owned()
            } else {
                format!(
                    "{}/slipway-cluster",
                    below_home(&self.state_home, ".local/state")
                )
            }
        });
        let cache = self
            .cache
            .clone()
            .unwrap_or_else(|| format!("{}/slipway", below_home(&self.cache_home, ".cache")));
        Layout::new(&state, &cache)
    }
}
