//! Connections of the API server → logs.
//!
//! Every connection has to show a certificate of the API server's front proxy. A replica that stops drops its
//! connections. So the reader sees a broken answer, never a log that only looks whole, and continues at another
//! replica.

use std::{sync::Arc, time::Duration};

use axum::Extension;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kube::Client;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::logs::{
    door::{Door, Place},
    pace::{PATIENCE, Pace},
    requests::{Caller, Desk, router},
    source::Source,
    terms::{Registration, Terms, refresh},
};
use slipway_k8s::clock::Clock;

/// Most connections of the API server at once. This is far more than the logs that are read at once, so that the API
/// server always gets a connection for discovery: without that it can delete no namespace. [`Door`] bounds the
/// connections that have not shown its certificate.
const CONNECTIONS: usize = 512;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
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

/// Serves until it is stopped.
pub async fn serve<S: Source>(listener: TcpListener, server: Server<S>) {
    let (sender, receiver) = watch::channel(None);
    let stop = server.stop;
    let desk = Desk {
        client: server.client.clone(),
        source: server.source,
        seats: Arc::default(),
    };
    let registration = Registration {
        client: server.client,
        namespace: server.namespace,
        service: server.service,
        clock: server.clock,
        missing: server.missing,
    };
    let refreshing = refresh(&registration, &sender);
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

#[cfg(test)]
mod tests;
