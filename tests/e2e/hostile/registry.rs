//! Registries that answer without end, without a word, or with what they should not.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Result as Done, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use slipway_crds::{conditions::types, v1alpha1::App};
use slipway_tests::{
    app::{READY, SOON, says},
    case::{self, Case},
    cluster::layout,
    wait,
};

use super::{TOO_MUCH, server, unharmed};
use slipway_tests::app::image_app;

/// Longest that a condition says about a registry.
const SHORT: usize = 800;
/// How many registries send at once what takes memory: as many as one namespace is looked up for.
const MANY: usize = 8;
/// The most that is read of a manifest where a tenant has named the registry.
const MANIFEST: usize = 1 << 20;

type Stream = StreamOwned<ServerConnection, TcpStream>;
/// What is done when a path is asked for.
type Answer = dyn Fn(&mut Stream, &str) -> Done<()> + Send + Sync;

/// What a registry does, and what the App has to say of that.
pub(crate) struct Attack {
    name: String,
    told: &'static str,
    answer: Box<Answer>,
}

fn attack(
    name: &str,
    told: &'static str,
    answer: impl Fn(&mut Stream, &str) -> Done<()> + Send + Sync + 'static,
) -> Attack {
    Attack {
        name: name.to_owned(),
        told,
        answer: Box::new(answer),
    }
}

fn attacks(api_server: &str) -> Vec<Attack> {
    let red = r"\u001b[31m\u0007no way ".repeat(100);
    let said = json!({"errors": [{"code": "UNSUPPORTED", "message": "RED"}]}).to_string();
    let said = said.replace("RED", &red);
    let typed = format!(r#"{{"config": "{}"}}"#, red.repeat(300));
    let entry = r#"{"mediaType":"","digest":"","size":0,"annotations":{"":""}}"#;
    let layers = [entry].repeat((MANIFEST - 1000) / (entry.len() + 1));
    let layers = Arc::new(manifest(&layers.join(",")));
    let mut all: Vec<Attack> = (0..MANY)
        .map(|number| {
            let layers = Arc::clone(&layers);
            let name = format!("layers-{number}");
            attack(&name, "no whole answer in", move |stream, path| {
                if path.contains("/manifests/") {
                    say(stream, "200 OK", &layers)
                } else {
                    wait_for_the_end(stream)
                }
            })
        })
        .collect();
    all.extend([
        attack("silent", "no whole answer in", |stream, _| {
            wait_for_the_end(stream)
        }),
        attack("slow", "no whole answer in", |stream, _| trickle(stream)),
        attack("long", "is longer than 1048576 bytes", |stream, _| {
            babble(stream, "200 OK")
        }),
        attack(
            "long-token",
            "is longer than 65536 bytes",
            |stream, path| {
                if path.contains("/token") {
                    babble(stream, "200 OK")
                } else {
                    let realm =
                        format!("https://{}/v2/long-token/token", stream.sock.local_addr()?);
                    leads(stream, &realm)
                }
            },
        ),
        attack("plain-token", "on to plain HTTP", |stream, _| {
            let realm = format!("http://{}/token", stream.sock.local_addr()?);
            leads(stream, &realm)
        }),
        attack("metadata", "a cloud's metadata service", |stream, _| {
            leads(stream, "https://169.254.169.254/token")
        }),
        attack("api-server", "leads to the Kubernetes API server", {
            let realm = format!("{api_server}/token");
            move |stream, _| leads(stream, &realm)
        }),
        attack("loud", "500 Internal Server Error", |stream, _| {
            babble(stream, "500 Internal Server Error")
        }),
        attack("coloured", "400 Bad Request: no way no way", {
            move |stream, _| say(stream, "400 Bad Request", &said)
        }),
        attack("typed", "is no manifest: ", move |stream, _| {
            say(stream, "200 OK", &typed)
        }),
        attack("circle", "to the next, without end", |stream, path| {
            let head = format!("302 Found\r\nLocation: {path}");
            say(stream, &head, "")
        }),
        attack("moved", "a cloud's metadata service", |stream, path| {
            if path.contains("/manifests/") {
                say(stream, "200 OK", &manifest(""))
            } else {
                let to = "307 Temporary Redirect\r\nLocation: https://169.254.169.254/latest";
                say(stream, to, "")
            }
        }),
        attack(
            "forged",
            "sent something else than sha256:",
            |stream, path| {
                if path.contains("/manifests/") {
                    say(stream, "200 OK", &manifest(""))
                } else {
                    say(stream, "200 OK", "{}")
                }
            },
        ),
    ]);
    all
}

/// A manifest with a config of two bytes, which are not `{}`, and these layers.
fn manifest(layers: &str) -> String {
    let digest = format!("sha256:{}", "0".repeat(64));
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":2}},"layers":[{layers}]}}"#
    )
}

/// A whole answer; `head` is status and headers.
fn say(stream: &mut Stream, head: &str, body: &str) -> Done<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Sends whoever asks to this token server.
fn leads(stream: &mut Stream, realm: &str) -> Done<()> {
    let head = format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\"");
    say(stream, &head, "")
}

/// An answer that goes on for longer than anybody reads, of what a terminal would obey.
fn babble(stream: &mut Stream, head: &str) -> Done<()> {
    write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")?;
    let piece = "\u{1b}[31m\u{7}".repeat(4096);
    for _ in 0..TOO_MUCH / piece.len() {
        stream.write_all(piece.as_bytes())?;
    }
    Ok(())
}

/// An answer of which a byte comes each second.
fn trickle(stream: &mut Stream) -> Done<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let second = Some(Duration::from_secs(1));
    stream.sock.set_read_timeout(second)?;
    loop {
        stream.write_all(b" ")?;
        stream.flush()?;
        match stream.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says nothing until whoever asked has gone.
fn wait_for_the_end(stream: &mut Stream) -> Done<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}

/// The path that is asked for.
fn asked(stream: &mut Stream) -> Done<String> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// A registry on the node, with a certificate that the operator trusts; its address.
fn registry(case: &Case, attacks: Arc<Vec<Attack>>) -> Result<String> {
    let layout = layout()?;
    let certificate = CertificateDer::from_pem_file(layout.cert("registry-server"))?;
    let key = PrivateKeyDer::from_pem_file(layout.key("registry-server"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let config = Arc::new(config);
    server(case, move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(tls, stream);
        let path = asked(&mut stream)?;
        let name = path.split('/').nth(2).unwrap_or_default();
        if let Some(attack) = attacks.iter().find(|attack| attack.name == name) {
            (attack.answer)(&mut stream, &path)?;
        }
        stream.conn.send_close_notify();
        stream.flush()
    })
}

/// Short, and nothing that a terminal would obey.
fn harmless(what: &str, text: &str) -> Result<()> {
    ensure!(text.len() < SHORT, "{what}: {} bytes", text.len());
    ensure!(!text.chars().any(char::is_control), "{what}: {text:?}");
    Ok(())
}

/// Apps of this namespace that come from such registries; at which address these are, and what each of them does.
pub(crate) async fn registries(case: &Case, namespace: &str) -> Result<(String, Arc<Vec<Attack>>)> {
    let server = "--output=jsonpath={.clusters[0].cluster.server}";
    let api_server = case.kubectl(&["config", "view", server]).await?;
    let attacks = Arc::new(attacks(&api_server));
    let address = registry(case, Arc::clone(&attacks))?;
    let api: Api<App> = Api::namespaced(case.cluster.client.clone(), namespace);
    for Attack { name, .. } in &*attacks {
        let app = serde_json::from_value(json!({
            "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": name},
            "spec": {"source": {"image": {"reference": format!("{address}/{name}:1")}}},
        }))?;
        api.create(&PostParams::default(), &app).await?;
    }
    Ok((address, attacks))
}

#[test]
fn registries_that_answer_as_they_like_cost_nobody_else_anything() {
    case::run("hostile-registry", |case| async move {
        let hello = image_app(&case, "hello", "").await?;
        let other = case.other_namespace().await?;
        let (address, attacks) = registries(&case, &other).await?;
        let api: Api<App> = Api::namespaced(case.cluster.client.clone(), &other);
        // Whoever has a registry that answers waits for none of these.
        case.apply(&hello).await?;
        let found = |app: &App| says(app, types::SOURCE_READY).starts_with("True");
        case.app_until("hello", SOON, "with a source", found)
            .await?;

        for Attack { name, told, .. } in &*attacks {
            let says_so = |app: &App| says(app, types::SOURCE_READY).contains(told);
            let app = wait::until(&api, name, READY, told, says_so).await?;
            let said = says(&app, types::SOURCE_READY);
            let begin = format!("False SourceUnavailable: {address}/{name}:1: ");
            ensure!(said.starts_with(&begin), "{name}: {said}");
            let conditions = app.status.context("a status")?.conditions;
            for condition in conditions {
                harmless(name, &condition.message)?;
            }
        }
        let events: Api<Event> = Api::namespaced(case.cluster.client.clone(), &other);
        let events = events.list(&ListParams::default()).await?.items;
        ensure!(!events.is_empty(), "no Events");
        for event in events {
            harmless("an Event", &event.note.unwrap_or_default())?;
        }
        unharmed(&case).await
    });
}
