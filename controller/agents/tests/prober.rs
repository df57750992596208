//! The prober as a pod uses it: installed by an init container, executed as a probe.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn run(program: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    // Proxies are for what lies outside of the pod.
    let Output { status, stdout, .. } = Command::new(program)
        .args(args)
        .env("http_proxy", "http://127.0.0.1:1")
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap())
}

/// A server that answers every GET with its own body.
fn server(body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() > 0 {
                request.push(byte[0]);
            }
            write!(
                socket,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    port
}

#[test]
fn an_installed_prober_asks_and_tells_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("bin");
    for _ in 0..2 {
        let original = std::path::Path::new(env!("CARGO_BIN_EXE_slipway-prober"));
        assert_eq!(
            run(original, &["--install", target.to_str().unwrap()]),
            (Some(0), String::new())
        );
    }
    assert!(target.join("slipway-launcher").is_file());
    let prober = target.join("slipway-prober");
    let port = server("all is well").to_string();
    let http = [
        "http",
        "--port",
        &port,
        "--header",
        "Host: a.example",
        "--content",
    ];
    assert_eq!(
        run(&prober, &[&http[..], &["is well"]].concat()),
        (Some(0), String::new())
    );
    let (code, said) = run(&prober, &[&http[..], &["is ill"]].concat());
    assert_eq!(
        (code, said.as_str()),
        (
            Some(1),
            "unable to find expected content in response body: is ill\n"
        )
    );
    let (code, said) = run(&prober, &["listening", "--port", &port]);
    assert_eq!(code, Some(1));
    let interface = "with unexpected IPv4 interface: expected=0.0.0.0 actual=127.0.0.1";
    assert_eq!(
        said,
        format!("container listening on expected port ({port}) {interface}\n")
    );
    let checks = format!(
        r#"[{{"kind":"http","name":"page","port":{port}}},{{"kind":"command","name":"disk","command":["false"]}}]"#
    );
    assert_eq!(
        run(&prober, &["all", &checks]),
        (Some(1), "disk: command exited with code 1\n".to_owned())
    );
    let file = dir.path().join("checks.json");
    std::fs::write(&file, checks.replace("false", "true")).unwrap();
    assert_eq!(
        run(&prober, &["all", file.to_str().unwrap()]),
        (Some(0), String::new())
    );
}

/// A server that speaks TLS with a certificate that nobody signed, for a name that is not asked for.
fn tls_server(body: &'static str) -> u16 {
    let pair = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket.unwrap());
            let mut request = [0; 4096];
            // A client that speaks no TLS is let go.
            if stream.read(&mut request).is_ok() {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .unwrap();
            }
        }
    });
    port
}

#[test]
fn https_is_asked_without_a_look_at_the_certificate() {
    let prober = std::path::Path::new(env!("CARGO_BIN_EXE_slipway-prober"));
    let port = tls_server("safe and sound").to_string();
    let https = ["http", "--scheme", "https", "--port", &port, "--content"];
    assert_eq!(
        run(prober, &[&https[..], &["sound"]].concat()),
        (Some(0), String::new())
    );
    let named = [
        &https[..],
        &["sound", "--header", "Host: hello.example.com"],
    ]
    .concat();
    assert_eq!(run(prober, &named), (Some(0), String::new()));
    let (code, said) = run(prober, &[&https[..], &["lost"]].concat());
    assert_eq!(
        (code, said.as_str()),
        (
            Some(1),
            "unable to find expected content in response body: lost\n"
        )
    );
    let (code, said) = run(prober, &["http", "--port", &port]);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be understood"), "{said}");
}
