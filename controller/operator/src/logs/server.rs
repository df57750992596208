//! Connections of the API server → logs.
//!
//! Every connection has to show a certificate of the API server's front proxy. A replica that stops drops its
//! connections. So the reader sees a broken answer, never a log that only looks whole, and continues at another
//! replica.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt as _;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;
use serde_json::json;
use slipway_crds::v1alpha1::Build;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::logs::{
    GROUP, VERSION,
    certificate::{self, CertificateError, Pair, RECHECK},
    discovery,
    door::{Door, Place},
    front_proxy::{self, FrontProxy, FrontProxyError, User},
    pace::{PATIENCE, Pace},
    seats::{Full, Seats},
    source::Source,
};
use slipway_k8s::classify::chain;
use slipway_k8s::clock::Clock;

/// Most connections of the API server at once. This is far more than the logs that are read at once, so that the API
/// server always gets a connection for discovery: without that it can delete no namespace. [`Door`] bounds the
/// connections that have not shown its certificate.
const CONNECTIONS: usize = 512;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Interval between two checks for the APIService, while there is none.
const UNREGISTERED: Duration = Duration::from_secs(30);
/// Delay between two tries to get a certificate.
const RETRY: Duration = Duration::from_secs(5);

/// Where the server is, and what it serves.
pub struct Server<S> {
    /// The API server.
    pub client: Client,
    /// Namespace of the operator.
    pub namespace: String,
    /// Service by which the API server finds it.
    pub service: String,
    /// Where logs come from.
    pub source: Arc<S>,
    /// The current time.
    pub clock: Clock,
    /// Stops the server when cancelled; answers are cut short.
    pub stop: CancellationToken,
    /// What is missing for serving. Readiness depends on it.
    pub missing: watch::Sender<Vec<String>>,
}

/// What is missing before the first try.
pub fn wanted() -> Vec<String> {
    vec!["the serving certificate of build logs".to_owned()]
}

/// What a request's handler needs.
struct Desk<S> {
    client: Client,
    source: Arc<S>,
    seats: Arc<Seats>,
}

impl<S> Clone for Desk<S> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            source: Arc::clone(&self.source),
            seats: Arc::clone(&self.seats),
        }
    }
}

/// What is needed to accept connections.
#[derive(Clone)]
struct Terms {
    tls: Arc<ServerConfig>,
    proxy: Arc<FrontProxy>,
}

/// Why connections cannot be accepted.
#[derive(Debug, thiserror::Error)]
enum TermsError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    FrontProxy(#[from] FrontProxyError),
    #[error(
        "cannot serve TLS with the certificate of Secret {} and the authorities of the API server's front proxy",
        certificate::SECRET
    )]
    Tls(#[from] rustls::Error),
    #[error("a certificate is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the front proxy's certificates cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Keeps certificate, registration and front proxy up to date for ever, and sends what is needed to accept connections.
async fn refresh<S: Source>(server: &Server<S>, terms: &watch::Sender<Option<Terms>>) {
    let mut before: Option<(Pair, FrontProxy)> = None;
    let mut missing = false;
    loop {
        let now = (server.clock)();
        let mut unable = Vec::new();
        let wait = match renew(server, now, &mut before, terms).await {
            Ok(registered) => {
                if !registered && !missing {
                    tracing::warn!(
                        "there is no APIService {VERSION}.{GROUP} that names Service {}/{}: build logs cannot be read through the API server",
                        server.namespace,
                        server.service
                    );
                }
                missing = !registered;
                if registered { RECHECK } else { UNREGISTERED }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "cannot serve build logs");
                unable = vec![format!("build logs: {error}")];
                RETRY
            }
        };
        // With the previous certificate, logs are still served.
        if before.is_some() {
            unable.clear();
        }
        server.missing.send_replace(unable);
        sleep(wait).await;
    }
}

async fn renew<S: Source>(
    server: &Server<S>,
    now: jiff::Timestamp,
    before: &mut Option<(Pair, FrontProxy)>,
    terms: &watch::Sender<Option<Terms>>,
) -> Result<bool, TermsError> {
    let pair = certificate::ensure(&server.client, &server.namespace, &server.service, now).await?;
    let proxy = front_proxy::read(&server.client).await?;
    if before.as_ref() != Some(&(pair.clone(), proxy.clone())) {
        let tls = tls(&pair, &proxy)?;
        terms.send_replace(Some(Terms {
            tls: Arc::new(tls),
            proxy: Arc::new(proxy.clone()),
        }));
        *before = Some((pair.clone(), proxy));
    }
    Ok(certificate::register(
        &server.client,
        &server.namespace,
        &server.service,
        &pair.authorities,
    )
    .await?)
}

fn tls(pair: &Pair, proxy: &FrontProxy) -> Result<ServerConfig, TermsError> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(proxy.ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let chain =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves until it is stopped.
pub async fn serve<S: Source>(listener: TcpListener, server: Server<S>) {
    let (sender, receiver) = watch::channel(None);
    let stop = server.stop.clone();
    let refreshing = refresh(&server, &sender);
    let desk = Desk {
        client: server.client.clone(),
        source: Arc::clone(&server.source),
        seats: Arc::default(),
    };
    let accepting = accept(listener, &desk, receiver);
    tokio::select! {
        () = refreshing => {}
        () = accepting => {}
        () = stop.cancelled() => {}
    }
}

async fn accept<S: Source>(
    listener: TcpListener,
    desk: &Desk<S>,
    terms: watch::Receiver<Option<Terms>>,
) {
    let door = Arc::new(Door::default());
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = door.wait(peer.ip());
        let (desk, terms, slots) = (desk.clone(), terms.clone(), Arc::clone(&slots));
        connections.spawn(async move {
            let Some((stream, terms)) = greet(stream, terms, place).await else {
                return;
            };
            // The semaphore is never closed.
            if let Ok(_slot) = slots.acquire_owned().await {
                connection(stream, terms, desk).await;
            }
        });
    }
}

/// Does the TLS handshake. `None` if the caller has no certificate of the front proxy, is too slow or is sent away.
async fn greet(
    stream: TcpStream,
    mut terms: watch::Receiver<Option<Terms>>,
    place: Place,
) -> Option<(TlsStream<TcpStream>, Terms)> {
    let shake = async {
        // Without a serving certificate yet, the connection waits for `refresh` until the handshake's time is over.
        let terms = terms.wait_for(Option::is_some).await.ok()?.clone()?;
        match TlsAcceptor::from(Arc::clone(&terms.tls))
            .accept(stream)
            .await
        {
            Ok(stream) => Some((stream, terms)),
            Err(error) => {
                tracing::debug!(%error, "a connection showed no certificate of the front proxy");
                None
            }
        }
    };
    tokio::select! {
        shaken = timeout(HANDSHAKE, shake) => shaken.ok().flatten(),
        () = place.sent_away.cancelled() => None,
    }
}

async fn connection<S: Source>(stream: TlsStream<TcpStream>, terms: Terms, desk: Desk<S>) {
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|certificate| certificate.as_ref().to_vec())
        .unwrap_or_default();
    let pace = Pace::default();
    let caller = Caller {
        certificate: certificate.into(),
        proxy: terms.proxy,
        pace: pace.clone(),
    };
    let router = router(desk).layer(Extension(caller));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        },
        () = pace.stalled(PATIENCE) => tracing::debug!("a reader stopped reading and was cut off"),
    }
}

/// The caller of a connection.
#[derive(Clone)]
struct Caller {
    certificate: Arc<[u8]>,
    proxy: Arc<FrontProxy>,
    pace: Pace,
}

fn router<S: Source>(desk: Desk<S>) -> Router {
    Router::new()
        .route(
            "/apis",
            get(async |Extension(caller): Extension<Caller>| {
                document(&caller, discovery::groups())
            }),
        )
        .route(
            &format!("/apis/{GROUP}"),
            get(async |Extension(caller): Extension<Caller>| document(&caller, discovery::group())),
        )
        .route(
            &format!("/apis/{GROUP}/{VERSION}"),
            get(async |Extension(caller): Extension<Caller>| {
                document(&caller, discovery::resources())
            }),
        )
        .route(
            &format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/builds/{{build}}/log"),
            get(log::<S>),
        )
        .fallback(|| async { Refusal::NotFound("there is nothing at this path".to_owned()) })
        .with_state(desk)
}

fn document(caller: &Caller, document: serde_json::Value) -> Response {
    match caller.proxy.check(&caller.certificate) {
        Ok(()) => Json(document).into_response(),
        Err(error) => Refusal::Unauthorized(error.to_string()).into_response(),
    }
}

/// What a request may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wish {
    /// Whether to follow the log until the Build is over.
    follow: bool,
    /// How many bytes to leave out at the start.
    skip_bytes: u64,
}

async fn log<S: Source>(
    State(desk): State<Desk<S>>,
    Extension(caller): Extension<Caller>,
    Path((namespace, name)): Path<(String, String)>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let user = caller
        .proxy
        .user(&caller.certificate, &headers)
        .map_err(|error| Refusal::Unauthorized(error.to_string()))?;
    let too_many = |full: Full| Refusal::TooMany(full.to_string());
    let reader = desk.seats.ask(&user.name).map_err(too_many)?;
    authorize(&desk.client, &user, &namespace, &name).await?;
    let seat = reader.sit(&namespace).map_err(too_many)?;
    let builds: Api<Build> = Api::namespaced(desk.client, &namespace);
    let build = builds.get_opt(&name).await.map_err(|error| {
        tracing::warn!(%error, namespace, name, "cannot read a Build for its log");
        Refusal::Unavailable("the Build cannot be read just now".to_owned())
    })?;
    let Some(build) = build else {
        return Err(Refusal::NotFound(format!(
            "builds.slipway.dev {name:?} not found"
        )));
    };
    let pieces = desk
        .source
        .open(build, wish.follow, wish.skip_bytes)
        .await
        .map_err(|error| Refusal::Unavailable(chain(&error)))?
        .ok_or_else(|| {
            Refusal::NotFound(format!(
                "no log is kept of Build {name:?}: it ended before it wrote one"
            ))
        })?;
    let body = caller.pace.watch(pieces).map(move |piece| {
        // The seat is given back when the answer ends, however it ends.
        let _held = &seat;
        piece.map_err(|error| chain(&error))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

async fn authorize(
    client: &Client,
    user: &User,
    namespace: &str,
    build: &str,
) -> Result<(), Refusal> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some("slipway.dev".to_owned()),
                version: Some("v1alpha1".to_owned()),
                resource: Some("builds".to_owned()),
                verb: Some("get".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(build.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews
        .create(&PostParams::default(), &review)
        .await
        .map_err(|error| {
            tracing::warn!(%error, "cannot ask who may read a log");
            Refusal::Unavailable("cannot ask whether you may read this log".to_owned())
        })?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "user {:?} may not get builds.slipway.dev {build:?} in namespace {namespace:?}, and so may not read its log",
        user.name
    )))
}

/// An answer without a log.
#[derive(Debug)]
enum Refusal {
    Unauthorized(String),
    Forbidden(String),
    NotFound(String),
    TooMany(String),
    Unavailable(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, reason, message) = match self {
            Self::Unauthorized(message) => (StatusCode::UNAUTHORIZED, "Unauthorized", message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, "Forbidden", message),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "NotFound", message),
            Self::TooMany(message) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message),
            Self::Unavailable(message) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                message,
            ),
        };
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": code.as_u16()});
        (code, Json(status)).into_response()
    }
}

#[cfg(test)]
mod tests;
