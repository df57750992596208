//! Sends one GET over HTTP/1.1 and judges the answer: 2xx passes; a redirect is followed if it leads to the same
//! process.
//!
//! Proxy variables are ignored. At most a fixed number of bytes of the body is read, because the app may be broken.

use crate::prober::http::location::{Location, resolve};
use crate::prober::{Header, Scheme, timed::Timed, tls};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

mod answer;
mod location;

const MAX_REDIRECTS: u32 = 10;

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
        match (answer.status, answer.location) {
            (200..=299, _) => {
                return match request.content {
                    Some(content) if !contains(&answer.body, content.as_bytes()) => {
                        Err(Error::Content(content.to_owned()))
                    }
                    _ => Ok(()),
                };
            }
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

fn ask(request: &Request<'_>, at: &Location, deadline: Instant) -> Result<answer::Answer, Error> {
    let to = SocketAddr::new(request.host, at.port);
    let timeout = || Error::Timeout {
        to,
        timeout: request.timeout,
    };
    let head = head(request.headers, at)?;
    let left = deadline
        .checked_duration_since(Instant::now())
        .ok_or_else(timeout)?;
    let socket = TcpStream::connect_timeout(&to, left).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => timeout(),
        _ => Error::Connect {
            to,
            why: error.to_string(),
        },
    })?;
    let socket = Timed::new(socket, deadline);
    let whole = request.content.is_some();
    let name = at
        .authority
        .rsplit_once(':')
        .map_or(at.authority.as_str(), |(name, _)| name);
    let answered = match at.scheme {
        Scheme::Http => answer::exchange(socket, &head, whole),
        Scheme::Https => tls::stream(socket, name, request.host)
            .and_then(|stream| answer::exchange(stream, &head, whole)),
    };
    answered.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => timeout(),
        _ => Error::Answer {
            to,
            why: error.to_string(),
        },
    })
}

/// The bytes of the request. A check's own headers replace the default ones.
fn head(headers: &[Header], at: &Location) -> Result<String, Error> {
    let mut head = format!("GET {} HTTP/1.1\r\n", at.target);
    let ours = [
        ("Host", at.authority.as_str()),
        ("Accept", "*/*"),
        ("User-Agent", "slipway-prober"),
    ];
    for (name, value) in ours {
        if name == "Host"
            || !headers
                .iter()
                .any(|header| header.name.eq_ignore_ascii_case(name))
        {
            add(&mut head, name, value)?;
        }
    }
    let not_ours = ["host", "connection", "content-length", "transfer-encoding"];
    for Header { name, value } in headers {
        if !not_ours
            .iter()
            .any(|fixed| name.eq_ignore_ascii_case(fixed))
        {
            add(&mut head, name, value)?;
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    Ok(head)
}

fn add(head: &mut String, name: &str, value: &str) -> Result<(), Error> {
    let token = |c: char| c.is_ascii_graphic() && c != ':';
    if name.is_empty()
        || !name.chars().all(token)
        || value.chars().any(|c| c.is_control() && c != '\t')
    {
        return Err(Error::Request { what: "header" });
    }
    for part in [name, ": ", value, "\r\n"] {
        head.push_str(part);
    }
    Ok(())
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
        if byte.is_ascii_graphic() {
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
                "the answer of ADDRESS cannot be understood: invalid HTTP version",
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
        let rest = "Host: hello.example.com\nUser-Agent: slipway-prober\nX-Forwarded-Proto: https\naccept: text/html\nConnection: close";
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
