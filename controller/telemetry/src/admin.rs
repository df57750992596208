//! Serves `/livez`, `/readyz` and `/metrics` on a port of their own.
//!
//! A replica is ready when the API server knows Slipway's kinds and the caches of the replica's controllers are filled.
//! It need not be the leader.

use std::{collections::VecDeque, future::Future, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

/// Most connections at once. Any pod can open them, so a new connection over the limit closes the oldest one. A kubelet
/// or Prometheus gets its answer within milliseconds, before that happens to its connection.
const CONNECTIONS: usize = 128;
/// Longest wait for the headers of a request.
const SILENCE: Duration = Duration::from_secs(30);
/// Most bytes of a request's headers.
const HEADERS: usize = 16 * 1024;

/// The data that the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The meters that `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What is missing before this replica is ready, one list from each part of the operator.
    pub missing: Vec<watch::Receiver<Vec<String>>>,
}

/// Serves until `stop` completes.
pub async fn serve(listener: TcpListener, pages: Pages, stop: impl Future<Output = ()>) {
    let router = router(pages);
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        if by_age.len() >= CONNECTIONS
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(connections.spawn(connection(stream, router.clone())));
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_buf_size(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

async fn ready(State(pages): State<Pages>) -> (StatusCode, String) {
    let missing: Vec<String> = pages
        .missing
        .iter()
        .flat_map(|missing| missing.borrow().clone())
        .collect();
    if missing.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let list = missing.join("\n- ");
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready, missing:\n- {list}\n"),
    )
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &pages.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS, Pages, serve};
    use crate::meters::Meters;
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::watch,
    };

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_liveness_does_not_care() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (crds, missing) = watch::channel(vec!["apps.slipway.dev".to_owned()]);
        let pages = Pages {
            registry: Arc::new(Meters::new("1").registry),
            missing: vec![missing],
        };
        let (end, ending) = tokio::sync::oneshot::channel::<()>();
        let server = serve(listener, pages, async {
            let _ = ending.await;
        });
        let story = async {
            assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
            let unready = ask(address, "/readyz").await;
            assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
            assert!(unready.contains("- apps.slipway.dev"), "{unready}");
            crds.send(Vec::new()).unwrap();
            assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
            let metrics = ask(address, "/metrics").await;
            assert!(metrics.contains("slipway_build_info"), "{metrics}");
            end.send(()).unwrap();
        };
        tokio::join!(server, story);
    }

    #[tokio::test]
    async fn silent_connections_make_room_for_those_that_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Pages {
            registry: Arc::new(Meters::new("1").registry),
            missing: Vec::new(),
        };
        let story = async {
            let mut silent = Vec::new();
            for _ in 0..CONNECTIONS + 20 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
            for mut oldest in silent.drain(..20) {
                assert_eq!(oldest.read(&mut [0]).await.unwrap_or(0), 0);
            }
        };
        tokio::select! {
            () = serve(listener, pages, std::future::pending()) => panic!("it ended"),
            () = story => {}
        }
    }
}
