//! Sends one GET over HTTP/1.1 and judges the answer: 2xx passes; a redirect is followed if it leads to the same
//! process.
//!
//! Proxy variables are ignored. At most a fixed number of bytes of the body is read, because the app may be broken.

use crate::prober::http::location::{Location, resolve};
use crate::prober::{Header, Scheme};
use rustls::pki_types::ServerName;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{HeaderValue, Response, Uri, header::HOST, header::LOCATION};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

mod location;

const MAX_REDIRECTS: u32 = 10;

/// Most bytes of the body that are read; the text that a check looks for has to be within them.
const MAX_BODY: u64 = 1 << 20;
const MAX_HEAD: usize = 64 << 10;

/// The request, and what the answer must hold.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub host: IpAddr,
    pub port: u16,
    pub path: &'a str,
    pub scheme: Scheme,
    pub headers: &'a [Header],
    pub content: Option<&'a str>,
    /// Limit for the whole attempt, redirects included.
    pub timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unexpected status code: {status}")]
    Status { status: u16 },
    #[error(
        "unexpected status code: {status} (a redirect to {to}, which is not answered by this process)"
    )]
    Away { status: u16, to: String },
    #[error("too many redirects: more than {MAX_REDIRECTS}, the last to {to}")]
    Redirects { to: String },
    #[error("unable to find expected content in response body: {0}")]
    Content(String),
    #[error("cannot connect to {to}: {why}")]
    Connect { to: SocketAddr, why: String },
    #[error("no complete answer from {to} within {timeout:?}")]
    Timeout { to: SocketAddr, timeout: Duration },
    #[error("the answer of {to} cannot be understood: {why}")]
    Answer { to: SocketAddr, why: String },
    #[error("the check's {what} may not have a line break or a control character in it")]
    Request { what: &'static str },
}

/// Sends the request, and sends it again to each address that a redirect names.
pub fn check(request: &Request<'_>) -> Result<(), Error> {
    let deadline = Instant::now() + request.timeout;
    let named = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("host"));
    let mut at = Location {
        scheme: request.scheme,
        authority: named.map_or_else(
            || format!("localhost:{}", request.port),
            |header| header.value.clone(),
        ),
        port: request.port,
        target: target(request.path)?,
    };
    for _ in 0..=MAX_REDIRECTS {
        let answer = ask(request, &at, deadline)?;
        let to = answer.headers().get(LOCATION).map(HeaderValue::as_bytes);
        let to = to.map(|to| String::from_utf8_lossy(to).trim().to_owned());
        match (answer.status().as_u16(), to.filter(|to| !to.is_empty())) {
            (200..=299, _) => return read(request, &at, answer),
            (status @ (301 | 302 | 303 | 307 | 308), Some(to)) => {
                at = resolve(&at, &to, request.host).ok_or(Error::Away { status, to })?;
            }
            (status, _) => return Err(Error::Status { status }),
        }
    }
    Err(Error::Redirects {
        to: format!("{}://{}{}", at.scheme.as_str(), at.authority, at.target),
    })
}

/// Resolves every name to the one address that is checked.
#[derive(Debug)]
struct Only(SocketAddr);

impl Resolver for Only {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// A client of one address. It does not verify certificates: the peer is the pod itself, whose certificate is seldom
/// for 127.0.0.1, and the kubelet's HTTPS probes do not verify it either.
fn client(to: SocketAddr, timeout: Duration) -> Agent {
    let tls = TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent("slipway-prober")
        // Otherwise it depends on ureq's features whether the answer is compressed.
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(MAX_HEAD)
        .tls_config(tls.build());
    Agent::with_parts(config.build(), DefaultConnector::default(), Only(to))
}

/// Sends one request. A check's own headers replace the default ones.
fn ask(
    request: &Request<'_>,
    at: &Location,
    deadline: Instant,
) -> Result<Response<ureq::Body>, Error> {
    let to = SocketAddr::new(request.host, at.port);
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(timeout(request, to));
    }
    let mut asked = client(to, left)
        .get(uri(at, to)?)
        .header(HOST, value(&at.authority)?);
    let not_ours = ["host", "connection", "content-length", "transfer-encoding"];
    for header in request.headers {
        let is_ours = !not_ours
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name));
        if is_ours {
            asked = asked.header(&header.name, value(&header.value)?);
        }
    }
    let answered = asked.header("connection", "close").call();
    answered.map_err(|error| failure(request, to, &error))
}

/// The address of the request. TLS asks for the name in it, so if `Host` is no name, the address is the pod's.
fn uri(at: &Location, to: SocketAddr) -> Result<Uri, Error> {
    let authority = &at.authority;
    let name = authority
        .rsplit_once(':')
        .map_or(&**authority, |(name, _)| name);
    let host = match ServerName::try_from(name) {
        Ok(ServerName::DnsName(_)) => format!("{name}:{}", at.port),
        _ => to.to_string(),
    };
    let uri = format!("{}://{host}{}", at.scheme.as_str(), at.target);
    uri.parse().map_err(|_| Error::Request { what: "path" })
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Error::Request { what: "header" })
}

/// Reads the body up to a limit, and judges it. A body that breaks off is a failure only if the text was not in it.
fn read(request: &Request<'_>, at: &Location, answer: Response<ureq::Body>) -> Result<(), Error> {
    let to = SocketAddr::new(request.host, at.port);
    let mut body = Vec::new();
    let mut reader = answer.into_body().into_reader().take(MAX_BODY);
    let whole = reader.read_to_end(&mut body);
    match (request.content, whole) {
        (None, _) => Ok(()),
        (Some(content), _) if contains(&body, content.as_bytes()) => Ok(()),
        (Some(content), Ok(_)) => Err(Error::Content(content.to_owned())),
        // Some TLS peers close the connection without a close_notify; that ends a body of unknown length, too.
        (Some(_), Err(error)) => Err(failure(request, to, &ureq::Error::from(error))),
    }
}

fn timeout(request: &Request<'_>, to: SocketAddr) -> Error {
    Error::Timeout {
        to,
        timeout: request.timeout,
    }
}

fn failure(request: &Request<'_>, to: SocketAddr, error: &ureq::Error) -> Error {
    use io::ErrorKind;
    let broken_off = || "the connection ended before the answer did".to_owned();
    let why = match error {
        ureq::Error::Timeout(_) => return timeout(request, to),
        ureq::Error::Http(_) => return Error::Request { what: "header" },
        ureq::Error::Io(error) => match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => return timeout(request, to),
            ErrorKind::UnexpectedEof => broken_off(),
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => {
                let why = error.to_string();
                return Error::Connect { to, why };
            }
            _ => error.to_string(),
        },
        ureq::Error::Protocol(error) => error.to_string(),
        error => error.to_string(),
    };
    Error::Answer { to, why }
}

/// The request's target. Bytes that are not legal in a target are percent-encoded.
fn target(path: &str) -> Result<String, Error> {
    use std::fmt::Write as _;
    if path.chars().any(char::is_control) {
        return Err(Error::Request { what: "path" });
    }
    let path = path.split('#').next().unwrap_or_default();
    let mut target = if path.starts_with('/') {
        String::new()
    } else {
        "/".to_owned()
    };
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            target.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
    Ok(target)
}

fn contains(body: &[u8], content: &[u8]) -> bool {
    body.windows(content.len().max(1))
        .any(|window| window == content)
}

#[cfg(test)]
mod tests;
