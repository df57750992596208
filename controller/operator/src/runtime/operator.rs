//! Settings → a running operator.
//!
//! ```text
//! every replica:  /livez /readyz /metrics │ build logs │ which of our kinds are known
//! the leader:     the controllers
//! ```
//!
//! If a task ends before it is asked to, or panics, the whole process ends, and Kubernetes starts it again.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use kube::Client;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinError, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    controllers::{
        self, Wiring, app::AppController, build::Builds, caches::Caches, release::ReleaseController,
    },
    logs::{self, kept::Kept, server::Server, source::Logs},
    runtime::{
        clock,
        flags::OperatorArgs,
        hash_key::{self, HashKeyError, Key},
        registry,
        runner::{Runner, runner},
        settings::{self, SettingsError, Told},
        signal,
    },
    source::git::Git,
};
use slipway_base::{outside::Outside, zone::input::RegistryAccess};
use slipway_core::{domain::env::HashKey, settings::Settings};
use slipway_k8s::classify::chain;
use slipway_k8s::clock::Clock;
use slipway_k8s::{
    client::{self, ClientError},
    events::Publisher,
    gates,
    lease::{Candidate, End, Terms},
    network,
};
use slipway_remotes::{
    registry::{Registry, RegistryError},
    web::{Web, WebError},
};
use slipway_telemetry::{
    admin::{self, Pages},
    meters::{BuildMeters, ControllerMeters, DeployMeters, Meters},
};

/// Name of the Lease.
const LEASE: &str = "slipway-operator";
/// How long running reconciles may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(20);
/// Interval between two checks whether the registry's account has changed.
const ACCOUNT: Duration = Duration::from_mins(1);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It cannot reach the cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It has no hash key.
    #[error(transparent)]
    HashKey(#[from] HashKeyError),
    /// The registry cannot be used as it is set.
    #[error("registry: {0}")]
    Registry(#[from] RegistryError),
    /// The certificates of the settings cannot be read.
    #[error("builds.ca: {0}")]
    Web(#[from] WebError),
    /// It cannot listen.
    #[error("cannot listen on {address}, which {flag} sets")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The flag that sets the address.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot handle the signals that stop it.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// It lost the lease; another replica may lead.
    #[error("the lease {LEASE} is lost: another replica may lead by now")]
    LeaseLost,
    /// A second signal stopped it at once.
    #[error("stopped at once by a second signal")]
    Forced,
    /// One of its parts ended.
    #[error("{0} ended by itself")]
    Ended(&'static str),
    /// One of its parts panicked.
    #[error("a part of the operator panicked")]
    Panicked(#[source] JoinError),
}

/// What the parts of the operator are made from.
struct Parts {
    client: Client,
    settings: Arc<Settings>,
    clock: Clock,
    events: Publisher,
    meters: ControllerMeters,
    build_meters: BuildMeters,
    deploy_meters: DeployMeters,
    driver: Arc<Runner>,
    registry: Arc<Registry>,
    hash_key: HashKey,
    git: Git,
    web: Web,
    /// Address of this replica's pod.
    pod_address: Option<IpAddr>,
    stop: CancellationToken,
}

/// Runs until SIGTERM.
pub async fn run(args: OperatorArgs) -> Result<(), OperatorError> {
    let Told { settings, hash_key } = settings::read(&args.settings, &args.namespace)?;
    let stop = CancellationToken::new();
    let mut signals = pin!(signal::watch(stop.clone()).map_err(OperatorError::Signals)?);
    let clock = clock::real();
    let Meters {
        registry,
        controllers: meters,
        builds: build_meters,
        deploys: deploy_meters,
        client: client_meters,
        leadership,
    } = Meters::new(env!("CARGO_PKG_VERSION"));
    let client = client::counted(client_meters).await?;
    let (kinds, missing) = watch::channel(gates::wanted());
    let (unsynced, caches) = watch::channel(vec!["hash key".to_owned()]);
    let (unserved, logs_missing) = watch::channel(logs::server::wanted());
    let pages = Pages {
        registry: Arc::new(registry),
        missing: vec![missing.clone(), caches, logs_missing],
    };
    let admin = listen(args.admin_address, "--admin-address").await?;
    let logs = listen(args.logs_address, "--logs-address").await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(admin_pages(admin, pages, stop.clone()));
    tasks.spawn(kinds_watch(client.clone(), kinds));
    let Key {
        hash_key,
        installation,
    } = tokio::select! {
        key = hash_key::wait(&client, &args.namespace, hash_key.as_deref()) => key?,
        () = stop.cancelled() => return Ok(()),
        () = &mut signals => return Err(OperatorError::Forced),
    };
    unsynced.send_replace(Vec::new());
    let web = Web::new(
        settings.outside.clone(),
        settings.build_ca.as_deref(),
        &settings.builds.env,
    )?;
    let parts = Parts {
        events: Publisher::new(client.clone(), args.identity.clone(), Arc::clone(&clock)),
        driver: Arc::new(runner(&settings, installation)),
        registry: Arc::new(Registry::new(&settings.registry.push)?),
        git: Git::new(&settings.builds.git, web.clone()),
        web,
        pod_address: args.pod_address,
        hash_key,
        settings: Arc::new(settings),
        client,
        clock,
        meters,
        build_meters,
        deploy_meters,
        stop,
    };

    tasks.spawn(build_logs(
        logs,
        server(&parts, args.namespace.clone(), args.service, unserved),
    ));
    tasks.spawn(network_watch(
        parts.client.clone(),
        parts.settings.outside.clone(),
        parts.pod_address,
    ));
    tasks.spawn(account_watch(
        args.settings,
        args.namespace.clone(),
        parts.settings.registry.push.clone(),
        parts.stop.clone(),
    ));
    let candidate = Candidate::new(
        parts.client.clone(),
        &args.namespace,
        LEASE,
        args.identity.clone(),
        Terms::default(),
        Arc::clone(&parts.clock),
        leadership,
    );
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = args.identity,
        "started"
    );
    let leading = candidate.lead(&parts.stop, || work(&parts, missing, unsynced));
    tokio::select! {
        end = leading => match end {
            End::Finished | End::NeverLed => Ok(()),
            End::Lost => Err(OperatorError::LeaseLost),
        },
        () = &mut signals => Err(OperatorError::Forced),
        error = first_end(&mut tasks, &parts.stop) => Err(error),
    }
}

/// The leader's work: it runs the controllers, once the API server knows our kinds, until it is asked to stop.
async fn work(
    parts: &Parts,
    mut missing: watch::Receiver<Vec<String>>,
    unsynced: watch::Sender<Vec<String>>,
) {
    let Parts {
        client,
        settings,
        clock,
        events,
        meters,
        build_meters,
        deploy_meters,
        driver,
        registry,
        hash_key,
        git,
        web,
        pod_address,
        stop,
    } = parts;
    if stop
        .run_until_cancelled(all_known(&mut missing))
        .await
        .is_none()
    {
        return;
    }
    // Before the operator connects anywhere for a tenant.
    let learned = network::look(client, &settings.outside, *pod_address);
    if stop.run_until_cancelled(learned).await.is_none() {
        return;
    }
    let caches = Caches::default();
    let wiring = Wiring {
        client: client.clone(),
        caches: caches.clone(),
        namespaces: settings.watch_namespaces.clone(),
        events: events.clone(),
        meters: meters.clone(),
        stop: stop.clone(),
        unsynced,
    };
    let app = Arc::new(AppController::new(
        &wiring,
        Arc::clone(settings),
        Arc::clone(clock),
        hash_key.clone(),
        git.clone(),
        web.clone(),
    ));
    let release =
        ReleaseController::new(&wiring, settings, Arc::clone(clock), deploy_meters.clone());
    let builds = Arc::new(Builds::new(controllers::build::Parts {
        client: client.clone(),
        settings: Arc::clone(settings),
        events: events.clone(),
        meters: build_meters.clone(),
        clock: Arc::clone(clock),
        driver: Arc::clone(driver),
        registry: Arc::clone(registry),
    }));
    // Each controller has a task of its own, so that none keeps the lease from being renewed. They end with this
    // future.
    let mut controllers = JoinSet::new();
    controllers.spawn(controllers::run(Arc::clone(&app), wiring.clone()));
    controllers.spawn(controllers::run(Arc::clone(&builds), wiring.clone()));
    controllers.spawn(controllers::run(Arc::new(release), wiring));
    let mut caching = JoinSet::new();
    let (client_of_caches, namespaces) = (client.clone(), settings.watch_namespaces.clone());
    caching.spawn(async move { caches.fill(&client_of_caches, &namespaces).await });
    let patience = async {
        stop.cancelled().await;
        sleep(DRAIN).await;
        tracing::warn!("the reconciles that still run are dropped: they did not end in time");
    };
    tokio::select! {
        _ = controllers.join_all() => {}
        _ = caching.join_all() => {}
        () = app.tend() => {}
        () = builds.tend() => {}
        () = registry::watch(client.clone(), events.clone(), Arc::clone(settings)) => {}
        () = patience => {}
    }
}

/// Waits until nothing is missing. `wait_for` returns a lock on the channel, which is dropped at once: otherwise the
/// next sender would block on it, and its thread too.
async fn all_known(missing: &mut watch::Receiver<Vec<String>>) {
    drop(missing.wait_for(Vec::is_empty).await);
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
    namespace: String,
    service: String,
    missing: watch::Sender<Vec<String>>,
) -> Server<Logs<Runner, Kept>> {
    let kept = Kept::new(Arc::clone(&parts.registry));
    Server {
        source: Arc::new(Logs::new(
            parts.client.clone(),
            Arc::clone(&parts.driver),
            kept,
            parts.settings.registry.repositories(),
        )),
        client: parts.client.clone(),
        namespace,
        service,
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
