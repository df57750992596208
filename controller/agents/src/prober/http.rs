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
use ureq::config::Config;
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
mod tests {
    use super::*;
    use crate::prober::LOCAL;
    use std::io::{BufRead, Write as _};
    use std::net::TcpListener;

    /// Answers each connection with the next of `answers`, and returns the requests.
    fn serve(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            answers
                .into_iter()
                .map(|answer| {
                    let (mut socket, _) = listener.accept().unwrap();
                    let reader = io::BufReader::new(socket.try_clone().unwrap());
                    let head: Vec<String> = reader
                        .lines()
                        .map(Result::unwrap)
                        .take_while(|line| !line.is_empty())
                        .collect();
                    socket.write_all(answer.as_bytes()).unwrap();
                    head.join("\n")
                })
                .collect()
        });
        (port, thread)
    }

    fn answered(answer: &str, content: Option<&str>) -> String {
        let (port, thread) = serve(vec![answer.to_owned()]);
        let request = Request {
            host: LOCAL,
            port,
            path: "/",
            scheme: Scheme::Http,
            headers: &[],
            content,
            timeout: Duration::from_secs(10),
        };
        let result = check(&request)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        thread.join().unwrap();
        result.replace(&format!("127.0.0.1:{port}"), "ADDRESS")
    }

    #[test]
    fn the_answer_decides() {
        for (answer, content, expected) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                Some("hell"),
                "",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", None, ""),
            ("HTTP/1.0 200 OK\r\n\r\nuntil the end", Some("the end"), ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
                Some("hello"),
                "",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                None,
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                Some("bye"),
                "unable to find expected content in response body: bye",
            ),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                None,
                "unexpected status code: 503",
            ),
            (
                "HTTP/1.1 304 Not Modified\r\n\r\n",
                None,
                "unexpected status code: 304",
            ),
            (
                "HTTP/1.1 301 Moved\r\n\r\n",
                None,
                "unexpected status code: 301",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: https://example.com/in\r\n\r\n",
                None,
                "unexpected status code: 302 (a redirect to https://example.com/in, which is not answered by this process)",
            ),
            (
                "SSH-2.0-OpenSSH\r\n\r\n",
                None,
                "the answer of ADDRESS cannot be understood: http parse fail: invalid HTTP version",
            ),
            (
                "",
                None,
                "the answer of ADDRESS cannot be understood: the connection ended before the answer did",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
                Some("bye"),
                "the answer of ADDRESS cannot be understood: the connection ended before the answer did",
            ),
        ] {
            assert_eq!(answered(answer, content), expected, "{answer:?}");
        }
    }

    #[test]
    fn headers_are_sent_and_redirects_within_the_process_followed() {
        let redirect =
            "HTTP/1.1 301 Moved\r\nLocation: http://hello.example.com/in?a=b#c\r\n\r\n".to_owned();
        let (port, thread) = serve(vec![redirect, "HTTP/1.1 200 OK\r\n\r\n".to_owned()]);
        let header = |name: &str, value: &str| Header {
            name: name.into(),
            value: value.into(),
        };
        let headers = [
            header("host", "hello.example.com"),
            header("X-Forwarded-Proto", "https"),
            header("accept", "text/html"),
        ];
        check(&Request {
            host: LOCAL,
            port,
            path: "/a b",
            scheme: Scheme::Http,
            headers: &headers,
            content: None,
            timeout: Duration::from_secs(10),
        })
        .unwrap();
        let rest = "user-agent: slipway-prober\nhost: hello.example.com\nx-forwarded-proto: https\naccept: text/html\nconnection: close";
        assert_eq!(
            thread.join().unwrap(),
            [
                format!("GET /a%20b HTTP/1.1\n{rest}"),
                format!("GET /in?a=b HTTP/1.1\n{rest}")
            ]
        );
    }

    #[test]
    fn redirects_end() {
        let round = "HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n".to_owned();
        let (port, thread) = serve(vec![round; 11]);
        let request = Request {
            host: LOCAL,
            port,
            path: "/",
            scheme: Scheme::Http,
            headers: &[],
            content: None,
            timeout: Duration::from_secs(10),
        };
        let error = check(&request).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("too many redirects: more than 10, the last to http://localhost:{port}/again")
        );
        thread.join().unwrap();
    }

    #[test]
    fn a_server_that_says_nothing_is_left_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let timeout = Duration::from_millis(200);
        let mut request = Request {
            host: LOCAL,
            port: listener.local_addr().unwrap().port(),
            path: "/",
            scheme: Scheme::Http,
            headers: &[],
            content: None,
            timeout,
        };
        let error = check(&request).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "no complete answer from 127.0.0.1:{} within 200ms",
                request.port
            )
        );
        // No server listens at port 1; another test could meanwhile take a port that was free a moment ago.
        request.port = 1;
        let error = check(&request).unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to 127.0.0.1:"), "{error}");
        request.path = "/\r\nX: y";
        let error = check(&request).unwrap_err().to_string();
        assert_eq!(
            error,
            "the check's path may not have a line break or a control character in it"
        );
    }
}
