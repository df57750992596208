//! Serves one connection of a build: CONNECT for TLS, absolute URLs for plain http (RFC 9110, 7.6 and 9.3.6).

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header, uri::Authority,
};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{body::Incoming, ext::ReasonPhrase, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::copy_bidirectional, net::TcpStream, task::JoinSet};

use crate::{
    console::Console,
    egress::way::{End, NoWay, Way},
};
use slipway_base::text;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest reason in an answer, in characters.
const LONGEST: usize = 300;

/// Headers that belong to one connection only, besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];
/// Headers of the same kind that are in no standard but are sent all the same.
const UNOFFICIAL: [&str; 2] = ["keep-alive", "proxy-connection"];

type Body = BoxBody<Bytes, hyper::Error>;

/// What a connection of a build has opened.
#[derive(Default)]
struct Beyond {
    /// Connections to servers over plain http.
    servers: Mutex<JoinSet<hyper::Result<()>>>,
    /// Both ends of the tunnel after CONNECT.
    tunnel: Mutex<Option<(OnUpgrade, TcpStream)>>,
}

/// Serves a connection to its end, and then the tunnel that it may have become.
pub(super) async fn connection(stream: TcpStream, way: Arc<Way>, console: Console) {
    let beyond = Arc::new(Beyond::default());
    let service = {
        let beyond = Arc::clone(&beyond);
        service_fn(move |request| {
            let (way, console, beyond) = (Arc::clone(&way), console.clone(), Arc::clone(&beyond));
            async move { Ok::<_, Infallible>(answer(request, &way, &console, &beyond).await) }
        })
    };
    // An error on a connection concerns only its client.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    let tunnel = locked(&beyond.tunnel).take();
    if let Some((client, mut server)) = tunnel
        && let Ok(client) = client.await
    {
        // Either side may close the tunnel at any time.
        let _ = copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    request: Request<Incoming>,
    way: &Way,
    console: &Console,
    beyond: &Beyond,
) -> Response<Body> {
    let said = if request.method() == Method::CONNECT {
        connect(request, way, beyond).await
    } else {
        forward(request, way, beyond).await
    };
    match said {
        Ok(response) => response,
        Err(Fault::Way(error)) => {
            let status = match &error {
                NoWay::Refused(_) => StatusCode::FORBIDDEN,
                _ => StatusCode::BAD_GATEWAY,
            };
            let reason = text::line(&error.to_string(), LONGEST);
            console.warning(&reason);
            refusal(status, reason)
        }
        Err(Fault::Address) => refusal(
            StatusCode::BAD_REQUEST,
            "this is an HTTP proxy: it takes CONNECT host:port, and http:// addresses".to_owned(),
        ),
        Err(Fault::Server(error)) => refusal(
            StatusCode::BAD_GATEWAY,
            text::line(&format!("the server broke off: {error}"), LONGEST),
        ),
    }
}

enum Fault {
    /// The proxy cannot connect to it.
    Way(NoWay),
    /// The address is not one that a proxy can be asked for.
    Address,
    /// The server spoke no HTTP, or stopped answering.
    Server(hyper::Error),
}

impl From<NoWay> for Fault {
    fn from(error: NoWay) -> Self {
        Self::Way(error)
    }
}

async fn connect(
    mut request: Request<Incoming>,
    way: &Way,
    beyond: &Beyond,
) -> Result<Response<Body>, Fault> {
    let (host, port) = target(request.uri(), None)?;
    let server = way.tunnel(&host, port).await?;
    let client = hyper::upgrade::on(&mut request);
    *locked(&beyond.tunnel) = Some((client, server));
    let empty = Empty::new().map_err(|never| match never {});
    Ok(Response::new(empty.boxed()))
}

async fn forward(
    mut request: Request<Incoming>,
    way: &Way,
    beyond: &Beyond,
) -> Result<Response<Body>, Fault> {
    if request.uri().scheme_str() != Some("http") {
        return Err(Fault::Address);
    }
    let (host, port) = target(request.uri(), Some(80))?;
    let hop = way.plain(&host, port).await?;
    of_this_connection(request.headers_mut());
    match hop.end {
        End::Server => {
            *request.uri_mut() = origin_form(request.uri()).ok_or(Fault::Address)?;
        }
        End::Proxy { account: None } => {}
        End::Proxy {
            account: Some(account),
        } => {
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, account);
        }
    }
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(hop.stream))
        .await
        .map_err(Fault::Server)?;
    {
        let mut servers = locked(&beyond.servers);
        while servers.try_join_next().is_some() {}
        servers.spawn(connection);
    }
    let mut response = sender.send_request(request).await.map_err(Fault::Server)?;
    of_this_connection(response.headers_mut());
    Ok(response.map(BodyExt::boxed))
}

/// Host and port of an address. CONNECT has to name the port.
fn target(uri: &Uri, default: Option<u16>) -> Result<(String, u16), Fault> {
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or(Fault::Address)?;
    let port = uri
        .authority()
        .and_then(Authority::port_u16)
        .or(default)
        .ok_or(Fault::Address)?;
    Ok((host.to_owned(), port))
}

fn origin_form(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().ok()
}

fn of_this_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in UNOFFICIAL {
        headers.remove(name);
    }
}

/// The status line also holds the reason: most programs show only that line of a refused CONNECT.
fn refusal(status: StatusCode, reason: String) -> Response<Body> {
    let mut response = Response::new(
        Full::from(format!("{reason}\n"))
            .map_err(|never| match never {})
            .boxed(),
    );
    *response.status_mut() = status;
    if let Ok(phrase) = ReasonPhrase::try_from(reason.into_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    response
}
