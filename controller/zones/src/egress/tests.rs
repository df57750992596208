//! The proxy between a real client and real servers on this machine.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{Router, extract::Request, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    console::Console,
    egress::{serve, way::Way},
};
use slipway_base::outside::policy::Policy;

/// Everything that the proxy logged.
#[derive(Clone, Default)]
struct Said(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// A proxy that allows these networks and reads its own proxies from `env`.
async fn proxy(allow: &[String], env: &[(&str, String)]) -> (SocketAddr, Said) {
    let policy = Policy {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        ..Policy::default()
    };
    let env: BTreeMap<String, String> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let said = Said::default();
    let console = Console::new(said.clone());
    tokio::spawn(serve(listener, Arc::new(Way::new(policy, &env)), console));
    (address, said)
}

/// A server that answers with the request that it got.
async fn origin() -> SocketAddr {
    let echo = |request: Request| async move {
        let mut lines = vec![format!("{} {}", request.method(), request.uri())];
        for (name, value) in request.headers() {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        lines.push(
            String::from_utf8(
                axum::body::to_bytes(request.into_body(), 1 << 20)
                    .await
                    .unwrap()
                    .to_vec(),
            )
            .unwrap(),
        );
        lines.join("\n")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/{*path}", get(echo).post(echo));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn raw(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn plain_requests_arrive_without_what_was_meant_for_the_proxy() {
    let origin = origin().await;
    let (proxy, _) = proxy(&[origin.to_string()], &[]).await;
    let answer = raw(
        proxy,
        &format!(
            "POST http://{origin}/a/b?c=d HTTP/1.1\r\nHost: {origin}\r\nX-Kept: yes\r\nX-Named: no\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nConnection: close, X-Named\r\n\
             Content-Length: 5\r\n\r\nhello"
        ),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for part in [
        "POST /a/b?c=d",
        "x-kept: yes",
        &format!("host: {origin}"),
        "hello",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    for part in ["x-named", "proxy-"] {
        assert!(!answer.contains(part), "{part}: {answer}");
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_until_one_side_ends() {
    let origin = origin().await;
    let (proxy, _) = proxy(&[origin.to_string()], &[]).await;
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let ask = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
    stream
        .write_all(b"GET /through HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("GET /through"), "{answer}");
}

#[tokio::test]
async fn what_answers_inside_only_is_refused_with_the_reason_in_the_status_line() {
    let origin = origin().await;
    let (proxy, said) = proxy(&[], &[]).await;
    for request in [
        format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"),
        format!("GET http://{origin}/x HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"),
        "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".to_owned(),
        "GET http://[fe80::1]/ HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".to_owned(),
        format!(
            "CONNECT localhost:{} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n",
            origin.port()
        ),
    ] {
        let answer = raw(proxy, &request).await;
        let status = answer.lines().next().unwrap();
        assert!(status.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
        assert!(status.contains("nothing is fetched from"), "{answer}");
    }
    assert_eq!(said.text().lines().count(), 5, "{}", said.text());
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_told_so() {
    let (proxy, _) = proxy(&[], &[]).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET https://a.invalid/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "CONNECT a.invalid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(proxy, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
    }
    let answer = raw(
        proxy,
        "CONNECT no-such-host.invalid:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn an_administrators_proxy_is_passed_on_to_with_its_account() {
    let origin = origin().await;
    let (beyond, _) = proxy(&[origin.to_string()], &[]).await;
    // Both requests go through the second proxy, which may connect to the server.
    for (name, request) in [
        (
            "http_proxy",
            format!(
                "GET http://{origin}/x HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n"
            ),
        ),
        (
            "HTTPS_PROXY",
            format!(
                "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\nGET /x HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n"
            ),
        ),
    ] {
        let through = [(name, format!("http://me:secret@{beyond}"))];
        // The first proxy refuses this machine's address before it asks the second one.
        let (closed, _) = proxy(&[], &through).await;
        let answer = raw(closed, &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{name}: {answer}");
        let (open, _) = proxy(&[origin.to_string()], &through).await;
        let answer = raw(open, &request).await;
        assert!(answer.contains("GET /x"), "{name}: {answer}");
        // With NO_PROXY the first proxy connects to the server directly.
        let mut around = through.to_vec();
        around.push(("NO_PROXY", origin.ip().to_string()));
        let (around, _) = proxy(&[origin.to_string()], &around).await;
        let answer = raw(around, &request).await;
        assert!(answer.contains("GET /x"), "{name}: {answer}");
    }
    // The first proxy sends its own account to the second one: a server in that place sees it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    });
    let through = [("HTTPS_PROXY", format!("http://me:secret@{address}"))];
    let (first, said) = proxy(&[], &through).await;
    let answer = raw(
        first,
        "CONNECT registry.invalid:443 HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n",
    )
    .await;
    let heard = heard.await.unwrap();
    assert!(
        heard.starts_with("CONNECT registry.invalid:443 "),
        "{heard}"
    );
    assert!(
        heard.contains("Proxy-Authorization: Basic bWU6c2VjcmV0"),
        "{heard}"
    );
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!said.text().contains("secret"), "{}", said.text());
}
