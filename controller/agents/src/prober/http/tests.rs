//! Requests to servers of the tests, and how their answers are judged.

use crate::prober::LOCAL;
use crate::prober::http::*;
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
