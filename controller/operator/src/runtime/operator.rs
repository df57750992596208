//! Settings → a running operator.
//!
//! ```text
//! every replica:  /livez /readyz /metrics │ build logs │ which of our kinds are known
//! the leader:     the controllers
//! ```
//!
//! If a task ends before it is asked to, or panics, the whole process ends, and Kubernetes starts it again.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use kube::Client;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    logs::{self, kept::Kept, server::Server, source::Logs},
    runtime::{
        clock,
        error::{LEASE, OperatorError},
        flags::OperatorArgs,
        hash_key, leader,
        parts::{Parts, WorkMeters},
        runner::Runner,
        settings::{self, Told},
        signal,
    },
};
use slipway_base::{outside::Outside, zone::input::RegistryAccess};
use slipway_k8s::classify::chain;
use slipway_k8s::{
    client, gates,
    lease::{Candidate, End, Terms},
    network,
};
use slipway_telemetry::{
    admin::{self, Pages},
    meters::{LeadershipMeters, Meters},
};

/// Interval between two checks whether the registry's account has changed.
const ACCOUNT: Duration = Duration::from_mins(1);

/// Runs until SIGTERM.
pub async fn run(args: OperatorArgs) -> Result<(), OperatorError> {
    let Told { settings, hash_key } = settings::read(&args.settings, &args.namespace)?;
    let stop = CancellationToken::new();
    let mut signals = pin!(signal::watch(stop.clone()).map_err(OperatorError::Signals)?);
    let meters = Meters::new(env!("CARGO_PKG_VERSION"));
    let client = client::counted(meters.client).await?;
    let (ready, missing) = Readiness::new();
    let pages = Pages {
        registry: Arc::new(meters.registry),
        missing,
    };
    let admin = listen(args.admin_address, "--admin-address").await?;
    let logs = listen(args.logs_address, "--logs-address").await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(admin_pages(admin, pages, stop.clone()));
    tasks.spawn(kinds_watch(client.clone(), ready.kinds));
    let key = tokio::select! {
        key = hash_key::wait(&client, &args.namespace, hash_key.as_deref()) => key?,
        () = stop.cancelled() => return Ok(()),
        () = &mut signals => return Err(OperatorError::Forced),
    };
    ready.unsynced.send_replace(Vec::new());
    let work_meters = WorkMeters {
        controllers: meters.controllers,
        builds: meters.builds,
        deploys: meters.deploys,
    };
    let clock = clock::real();
    let parts = Parts::new(&args, settings, key, client, clock, work_meters, stop)?;
    serve(&mut tasks, &parts, &args, logs, ready.unserved);
    let identity = &args.identity;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), identity, "started");
    let candidate = candidate(&parts, &args, meters.leadership);
    let (missing, unsynced) = (ready.missing, ready.unsynced);
    let leading = candidate.lead(&parts.stop, || leader::work(&parts, missing, unsynced));
    tokio::select! {
        end = leading => match end {
            End::Finished | End::NeverLed => Ok(()),
            End::Lost => Err(OperatorError::LeaseLost),
        },
        () = &mut signals => Err(OperatorError::Forced),
        error = first_end(&mut tasks, &parts.stop) => Err(error),
    }
}

/// What has to be there before this replica is Ready; each channel has the names of what is still missing.
struct Readiness {
    /// Kinds that the API server does not know yet.
    kinds: watch::Sender<Vec<String>>,
    missing: watch::Receiver<Vec<String>>,
    /// Caches that are not filled yet.
    unsynced: watch::Sender<Vec<String>>,
    /// What the server of build logs waits for.
    unserved: watch::Sender<Vec<String>>,
}

impl Readiness {
    /// And what `/readyz` looks at.
    fn new() -> (Self, Vec<watch::Receiver<Vec<String>>>) {
        let (kinds, missing) = watch::channel(gates::wanted());
        let (unsynced, caches) = watch::channel(vec!["hash key".to_owned()]);
        let (unserved, logs) = watch::channel(logs::terms::wanted());
        let looked_at = vec![missing.clone(), caches, logs];
        let ready = Self {
            kinds,
            missing,
            unsynced,
            unserved,
        };
        (ready, looked_at)
    }
}

/// Starts what every replica does once it has its parts.
fn serve(
    tasks: &mut JoinSet<&'static str>,
    parts: &Parts,
    args: &OperatorArgs,
    logs: TcpListener,
    unserved: watch::Sender<Vec<String>>,
) {
    let server = server(parts, args, unserved);
    tasks.spawn(build_logs(logs, server));
    let outside = parts.settings.outside.clone();
    tasks.spawn(network_watch(
        parts.client.clone(),
        outside,
        parts.pod_address,
    ));
    tasks.spawn(account_watch(
        args.settings.clone(),
        args.namespace.clone(),
        parts.settings.registry.push.clone(),
        parts.stop.clone(),
    ));
}

fn candidate(parts: &Parts, args: &OperatorArgs, leadership: LeadershipMeters) -> Candidate {
    Candidate::new(
        parts.client.clone(),
        &args.namespace,
        LEASE,
        args.identity.clone(),
        Terms::default(),
        Arc::clone(&parts.clock),
        leadership,
    )
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| OperatorError::Listen {
            address,
            flag,
            source,
        })
}

async fn admin_pages(listener: TcpListener, pages: Pages, stop: CancellationToken) -> &'static str {
    admin::serve(listener, pages, stop.cancelled_owned()).await;
    "the server of the admin pages"
}

fn server(
    parts: &Parts,
    args: &OperatorArgs,
    missing: watch::Sender<Vec<String>>,
) -> Server<Logs<Runner, Kept>> {
    let kept = Kept::new(Arc::clone(&parts.clients.registry));
    Server {
        source: Arc::new(Logs::new(
            parts.client.clone(),
            Arc::clone(&parts.driver),
            kept,
            parts.settings.registry.repositories(),
        )),
        client: parts.client.clone(),
        namespace: args.namespace.clone(),
        service: args.service.clone(),
        clock: Arc::clone(&parts.clock),
        stop: parts.stop.clone(),
        missing,
    }
}

async fn build_logs(listener: TcpListener, server: Server<Logs<Runner, Kept>>) -> &'static str {
    logs::server::serve(listener, server).await;
    "the server of build logs"
}

async fn network_watch(client: Client, outside: Outside, own: Option<IpAddr>) -> &'static str {
    network::watch(client, outside, own).await;
    "the watch of the cluster's addresses"
}

async fn kinds_watch(client: Client, missing: watch::Sender<Vec<String>>) -> &'static str {
    gates::watch(client, missing).await;
    "the watch of our kinds"
}

/// Stops the operator when the registry's account has changed: plans and clients are made with the account, and the
/// restarted process makes new ones. When other settings change, the pod itself is replaced.
async fn account_watch(
    settings: PathBuf,
    namespace: String,
    account: RegistryAccess,
    stop: CancellationToken,
) -> &'static str {
    loop {
        sleep(ACCOUNT).await;
        match settings::read(&settings, &namespace) {
            Ok(told) if told.settings.registry.push != account => {
                tracing::info!(
                    "the registry's account has changed: stopping, to be started again with it"
                );
                stop.cancel();
                return "the watch of the registry's account";
            }
            Ok(_) => {}
            // This also happens while the files are being replaced.
            Err(error) => tracing::warn!(error = chain(&error), "cannot read the settings again"),
        }
    }
}

/// Waits for the first part that ends without being asked to, or panics.
async fn first_end(tasks: &mut JoinSet<&'static str>, stop: &CancellationToken) -> OperatorError {
    loop {
        match tasks.join_next().await {
            Some(Err(panic)) if panic.is_panic() => return OperatorError::Panicked(panic),
            Some(Ok(part)) if !stop.is_cancelled() => return OperatorError::Ended(part),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
