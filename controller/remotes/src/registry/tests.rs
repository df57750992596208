//! The client against registries that answer wrongly: what it accepts, and which servers get credentials.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Url, header::HeaderValue};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};

use crate::{
    registry::{
        Descriptor, Image, ImageAccess, ImageManifest, Open, Registry, RegistryError, Whose,
        account::Account,
        base,
        manifest::{OCI_MANIFEST, Platform, digest},
        resolve,
        wire::{Bounds, Wire},
    },
    web::Web,
};
use slipway_base::{
    error::{Class, Classify as _},
    outside::{Outside, policy::Policy},
    text::is_visible,
    zone::input::{RegistryAccess, Secret},
};

/// The requests that a server got: the head of each, in lower case.
type Asked = Arc<Mutex<Vec<String>>>;

struct Server {
    address: String,
    asked: Asked,
}

impl Server {
    /// A server that gives `answer` to every request, as long as the test runs.
    fn start(answer: impl Fn(&str, &mut dyn Write) + Send + 'static) -> Self {
        let asked = Asked::default();
        let memory = Arc::clone(&asked);
        let address = listen(move |mut stream| serve(&mut stream, &memory, &answer));
        Self { address, asked }
    }

    /// Like `start`, but over TLS and under this name.
    fn secret(
        name: &str,
        authority: &Authority,
        answer: impl Fn(&str, &mut dyn Write) + Send + 'static,
    ) -> Self {
        let config = authority.server(name);
        let asked = Asked::default();
        let memory = Arc::clone(&asked);
        let address = listen(move |stream| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            serve(&mut stream, &memory, &answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn base(&self) -> Url {
        base("http", &self.address).unwrap()
    }

    /// Its settings as an administrator writes them, without an account.
    fn access(&self) -> RegistryAccess {
        RegistryAccess {
            address: self.address.clone(),
            username: None,
            password: None,
            ca_pem: None,
            insecure: true,
        }
    }

    /// Its client, as if an administrator had named it.
    fn registry(&self, account: &Account) -> Registry {
        let _ = rustls::crypto::ring::default_provider().install_default();
        self.by(Wire::trusted(self.base(), account.clone(), None).unwrap())
    }

    /// Its client, as if a tenant had named it.
    fn outside(&self, account: &Account, web: Web) -> Registry {
        self.by(Wire::outside(self.base(), account.clone(), web))
    }

    fn by(&self, mut wire: Wire) -> Registry {
        wire.bounds = Bounds {
            document: 2000,
            token: 200,
            error: 300,
        };
        Registry {
            attempts: 1,
            ..Registry::by(&self.address, wire)
        }
    }
}

/// Calls `each` with one connection after another. Returns the address.
fn listen(each: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(each));
    address
}

/// Reads one request and answers it.
fn serve(stream: &mut (impl Read + Write), asked: &Asked, answer: &impl Fn(&str, &mut dyn Write)) {
    let mut reader = BufReader::new(&mut *stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let line = line.to_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    asked.lock().unwrap().push(head.clone());
    answer(&head, stream);
}

/// A company's own certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

/// Allows connections to `allow`, and trusts only these certificates.
fn web(allow: &[&str], ca_pem: Option<&str>, env: &[(&str, &str)]) -> Web {
    let policy = Policy {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        ..Policy::default()
    };
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Web::new(Outside::new(policy), ca_pem, &env).unwrap()
}

fn named() -> Account {
    Account::Named {
        username: "u".into(),
        password: "p".into(),
    }
}

/// `u:p`.
const BASIC: &str = "authorization: basic dtpw";

fn say(stream: &mut dyn Write, head: &str, body: &str) {
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

/// Sends an endless body until the client closes the connection; at most 4 MiB.
fn babble(stream: &mut dyn Write, head: &str) {
    let _ = write!(
        stream,
        "HTTP/1.1 {head}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..4096 {
        let chunk = " ".repeat(1024);
        if write!(stream, "400\r\n{chunk}\r\n").is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_taken_into_memory() {
    let endless = Server::start(|_, stream| babble(stream, "200 OK"));
    let error = endless
        .registry(&named())
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("longer than 2000 bytes"),
        "{error}"
    );

    // The length is announced; the client does not begin to read the body.
    let announced = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
    });
    let error = announced
        .registry(&named())
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("longer than 2000 bytes"),
        "{error}"
    );

    let failing = Server::start(|_, stream| babble(stream, "400 Bad Request"));
    let error = failing
        .registry(&named())
        .push_bytes("a", &Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("400 Bad Request"), "{error}");

    let tokens = Server::start(|_, stream| babble(stream, "200 OK"));
    let realm = tokens.address.clone();
    let asking = Server::start(move |_, stream| {
        let head =
            format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{realm}/t\"");
        say(stream, &head, "");
    });
    let error = asking
        .registry(&named())
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("longer than 200 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn a_blob_that_is_longer_than_it_should_be_or_another_is_damaged() {
    let server = Server::start(|head, stream| {
        if head.contains("/v2/long/") {
            babble(stream, "200 OK");
        } else {
            say(stream, "200 OK", "yes");
        }
    });
    let registry = server.registry(&Account::Anonymous);
    let blob = |bytes: &[u8]| Descriptor {
        digest: digest(bytes),
        size: 3,
        ..Descriptor::default()
    };
    for (repository, wanted) in [("long", blob(b"yes")), ("a", blob(b"no!"))] {
        let error = registry.pull_file(repository, &wanted).await.unwrap_err();
        assert!(matches!(error, RegistryError::Damaged { .. }), "{error}");
    }
    assert_eq!(
        registry.pull_bytes("a", &blob(b"yes")).await.unwrap(),
        b"yes"
    );
}

#[tokio::test]
async fn a_password_is_told_to_the_registry_when_it_asks_and_to_nobody_else() {
    let elsewhere = Server::start(|_, stream| say(stream, "200 OK", "yes"));
    let to = elsewhere.address.clone();
    let server = Server::start(move |head, stream| {
        if head.contains(BASIC) {
            let head = format!("307 Temporary Redirect\r\nLocation: http://u:p@{to}/signed?x=1");
            say(stream, &head, "");
        } else {
            say(
                stream,
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"",
                "",
            );
        }
    });
    let registry = server.registry(&named());
    let blob = Descriptor {
        digest: digest(b"yes"),
        size: 3,
        ..Descriptor::default()
    };
    for _ in 0..2 {
        assert_eq!(registry.pull_bytes("a", &blob).await.unwrap(), b"yes");
    }
    // The first request came without credentials; from then on the client sends them.
    let told: Vec<bool> = server.asked().iter().map(|a| a.contains(BASIC)).collect();
    assert_eq!(told, [false, true, true]);
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2);
    for head in asked {
        assert!(
            head.starts_with("get /signed?x=1 ") && !head.contains("authorization"),
            "{head}"
        );
    }
    let error = server
        .registry(&Account::Anonymous)
        .pull_bytes("a", &blob)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorised { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_good_no_more() {
    let given = Arc::new(Mutex::new(0));
    let tokens = Server::start({
        let given = Arc::clone(&given);
        move |_, stream| {
            let mut given = given.lock().unwrap();
            *given += 1;
            say(
                stream,
                "200 OK",
                &format!(r#"{{"token":"t{given}","expires_in":300}}"#),
            );
        }
    });
    let realm = tokens.address.clone();
    let good = Arc::new(Mutex::new("t1"));
    let server = Server::start({
        let good = Arc::clone(&good);
        move |head, stream| {
            if head.contains(&format!("authorization: bearer {}\r", good.lock().unwrap())) {
                say(stream, "200 OK", "");
            } else {
                let head = format!(
                    "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{realm}/t\",service=\"s\""
                );
                say(stream, &head, "");
            }
        }
    });
    let registry = server.registry(&named());
    let blob = Descriptor {
        digest: digest(b""),
        ..Descriptor::default()
    };
    assert!(registry.has("a", &blob).await.unwrap());
    assert!(registry.has("a", &blob).await.unwrap());
    assert_eq!(tokens.asked().len(), 1);
    *good.lock().unwrap() = "t2";
    assert!(registry.has("a", &blob).await.unwrap());
    // The client does not request tokens without end.
    *good.lock().unwrap() = "none";
    let error = registry.has("a", &blob).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorised { .. }),
        "{error}"
    );
    let asked = tokens.asked();
    assert_eq!(asked.len(), 3);
    assert!(
        asked[0].starts_with("get /t?service=s&scope=repository%3aa%3apull ")
            && asked[0].contains(BASIC),
        "{}",
        asked[0]
    );
    assert!(server.asked().iter().all(|head| !head.contains(BASIC)));
}

#[tokio::test]
async fn what_a_tenant_has_written_leads_nowhere_by_a_redirect_a_token_server_or_an_upload() {
    let inside = Server::start(|_, stream| say(stream, "200 OK", "internal"));
    let to = inside.address.clone();
    let server = Server::start(move |head, stream| {
        let leads = if head.contains("/v2/token/") {
            format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{to}/t\"")
        } else if head.starts_with("post") {
            format!("202 Accepted\r\nLocation: http://{to}/upload")
        } else if head.contains("/v2/upload/") {
            "404 Not Found".to_owned()
        } else {
            format!("302 Found\r\nLocation: http://{to}/metadata")
        };
        say(stream, &leads, "");
    });
    let registry = server.outside(&named(), web(&[&server.address], None, &[]));
    for error in [
        registry.manifest("redirect", "x").await.unwrap_err(),
        registry.manifest("token", "x").await.unwrap_err(),
        registry
            .push_bytes("upload", &Bytes::from_static(b"x"))
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, RegistryError::Outside(_)), "{error}");
    }
    assert_eq!(inside.asked().len(), 0);

    // The registry's own address is refused, too.
    let image = Image {
        registry: &server.address,
        repository: "a",
        wanted: "x",
    };
    let before = server.asked().len();
    let strict = web(&[], None, &[]);
    let access = ImageAccess {
        docker_config: None,
        registry: Whose::Outside(&strict),
    };
    let error = resolve(image, &access).await.unwrap_err();
    assert!(matches!(error, RegistryError::Outside(_)), "{error}");
    assert_eq!(server.asked().len(), before);
}

fn of(content: &[u8]) -> Descriptor {
    Descriptor {
        digest: digest(content),
        size: content.len() as u64,
        ..Descriptor::default()
    }
}

/// Answers for a blob that the registry has lost: that of a registry without the blob, and those of a registry that was
/// cleaned up while it ran and still knows the blob's size.
const LOST: [fn(&mut dyn Write); 3] = [
    |stream| say(stream, "404 Not Found", ""),
    |stream| say(stream, "200 OK", ""),
    |stream| {
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
    },
];

/// A proxy that connects to `to`, whatever it is asked for.
fn proxy(to: &str) -> Server {
    let to = to.to_owned();
    let asked = Asked::default();
    let memory = Arc::clone(&asked);
    let address = listen(move |mut stream| {
        let greet = |_: &str, stream: &mut dyn Write| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        };
        serve(&mut stream, &memory, &greet);
        let mut there = TcpStream::connect(&to).unwrap();
        let (mut from, mut into) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut into);
            into.shutdown(Shutdown::Write)
        });
        let _ = std::io::copy(&mut there, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    });
    Server { address, asked }
}

#[tokio::test]
async fn a_companys_own_registry_is_reached_by_its_proxy_and_with_its_certificates() {
    let config = format!(
        r#"{{"os":"linux","architecture":"{}","config":{{"User":"7"}}}}"#,
        Platform::ours().architecture
    );
    let blob = digest(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{blob}","size":{}}}}}"#,
        config.len()
    );
    let authority = Authority::new();
    let server = |name| {
        let (config, manifest) = (config.clone(), manifest.clone());
        Server::secret(name, &authority, move |head, stream| {
            let body = if head.contains("/manifests/") {
                &manifest
            } else {
                &config
            };
            say(stream, "200 OK", body);
        })
    };
    let (near, far) = (server("127.0.0.1"), server("registry.invalid"));
    let proxy = proxy(&far.address);
    let through = format!("http://u:p@{}", proxy.address);
    let direct = web(&["127.0.0.1"], Some(&authority.pem), &[]);
    let proxied = web(
        &[],
        Some(&authority.pem),
        &[("HTTPS_PROXY", &through), ("NO_PROXY", "127.0.0.1")],
    );
    let stranger = web(&["127.0.0.1"], Some(&Authority::new().pem), &[]);
    let ask = async |registry: &str, web: &Web| {
        let image = Image {
            registry,
            repository: "a",
            wanted: "x",
        };
        let access = ImageAccess {
            docker_config: None,
            registry: Whose::Outside(web),
        };
        resolve(image, &access).await
    };
    let found = ask(&near.address, &direct).await.unwrap();
    assert_eq!(found.config.user, "7");
    let found = ask("registry.invalid:5000", &proxied).await.unwrap();
    assert_eq!(
        (found.repository.as_str(), found.config.user.as_str()),
        ("registry.invalid:5000/a", "7")
    );
    let asked = proxy.asked();
    let of_proxy = |head: &String| {
        head.starts_with("connect registry.invalid:5000 ")
            && head.contains("proxy-authorization: basic dtpw\r")
    };
    assert!(!asked.is_empty() && asked.iter().all(of_proxy), "{asked:?}");
    assert!(far.asked().iter().all(|head| !head.contains("dtpw")));

    let unknown = ask("registry.invalid:5000", &direct).await.unwrap_err();
    assert!(
        matches!(unknown, RegistryError::Unreachable { .. }),
        "{unknown}"
    );
    let inside = ask(&near.address, &proxied).await.unwrap_err();
    assert!(matches!(inside, RegistryError::Outside(_)), "{inside}");
    let forged = ask(&near.address, &stranger).await.unwrap_err();
    assert!(matches!(forged, RegistryError::Tls { .. }), "{forged}");
}

#[tokio::test]
async fn what_a_registry_has_taken_and_lost_is_no_success() {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.into(),
        artifact_type: None,
        config: of(b"config"),
        layers: vec![of(b"layer")],
        annotations: BTreeMap::new(),
    };
    let layer = digest(b"layer");
    for (lost, ways) in [
        // The manifest's bytes are always read, so one that breaks off may be a broken connection: the third answer is
        // left out.
        ("/manifests/sha256:", &LOST[..2]),
        (&*layer, &LOST[..]),
        ("nothing", &LOST[..1]),
    ] {
        for way in ways.iter().copied() {
            let (lost_one, body) = (lost.to_owned(), serde_json::to_string(&manifest).unwrap());
            let server = Server::start(move |head, stream| {
                if head.starts_with("put") {
                    say(stream, "201 Created", "");
                } else if head.starts_with("head") {
                    say(stream, "200 OK", "");
                } else if head.contains(&lost_one) {
                    way(stream);
                } else if head.contains("/manifests/") {
                    say(stream, "200 OK", &body);
                } else {
                    say(stream, "206 Partial Content", "r");
                }
            });
            let registry = server.registry(&named());
            let pushed = registry.push_manifest("a", Some("t"), &manifest).await;
            if lost == "nothing" {
                pushed.unwrap();
                continue;
            }
            let error = pushed.unwrap_err();
            assert!(matches!(error, RegistryError::Vanished { .. }), "{error}");
            assert!(
                error.may_pass() && error.to_string().contains("restart it"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_look_up_takes_no_longer_manifest_and_config_than_images_have() {
    let server = Server::start(|head, stream| {
        if head.contains("/manifests/long") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n");
        } else {
            let blob = digest(b"");
            let config = format!(r#"{{"digest":"{blob}","size":1048577,"mediaType":"c"}}"#);
            say(
                stream,
                "200 OK",
                &format!(r#"{{"schemaVersion":2,"config":{config}}}"#),
            );
        }
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ours = Registry::new(&server.access()).unwrap();
    let access = ImageAccess {
        docker_config: None,
        registry: Whose::Ours(&ours),
    };
    for (wanted, said) in [
        ("long", "it is longer than 1048576 bytes"),
        ("config", "1048577 bytes are too many"),
    ] {
        let image = Image {
            registry: &server.address,
            repository: "a",
            wanted,
        };
        let error = resolve(image, &access).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn what_a_registry_only_says_that_it_has_is_uploaded() {
    for way in LOST {
        let server = Server::start(move |head, stream| match &head[..4] {
            "head" => say(stream, "200 OK", ""),
            "get " => way(stream),
            "post" => say(
                stream,
                "202 Accepted\r\nLocation: /v2/a/blobs/uploads/1",
                "",
            ),
            _ => say(stream, "201 Created", ""),
        });
        let registry = server.registry(&named());
        let content = Bytes::from_static(b"layer");
        assert_eq!(registry.push_bytes("a", &content).await.unwrap(), 5);
        let asked = server.asked();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[0].contains("range: bytes=4-4\r\n"), "{}", asked[0]);
    }
}

#[tokio::test]
async fn what_is_there_is_not_downloaded_to_find_that_out() {
    // The registry ignores `Range` and sends bytes until the client closes the connection.
    let server = Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"4\r\nmore\r\n").is_ok() {}
    });
    let registry = server.registry(&named());
    for _ in 0..2 {
        assert!(registry.has("a", &of(b"layer")).await.unwrap());
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn an_image_for_other_machines_is_told_and_not_asked_for_again() {
    let config = r#"{"os":"linux","architecture":"s390x","config":{}}"#;
    let blob = digest(config.as_bytes());
    let single = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{blob}","size":{}}}}}"#,
        config.len()
    );
    let index = r#"{"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,
        "platform":{"os":"linux","architecture":"s390x","variant":"x"}}]}"#;
    let server = Server::start(move |head, stream| {
        let body = if head.contains("/manifests/single") {
            &single
        } else if head.contains("/manifests/index") {
            index
        } else {
            config
        };
        say(stream, "200 OK", body);
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ours = Registry::new(&server.access()).unwrap();
    let access = ImageAccess {
        docker_config: None,
        registry: Whose::Ours(&ours),
    };
    for wanted in ["single", "index"] {
        let image = Image {
            registry: &server.address,
            repository: "a",
            wanted,
        };
        let error = resolve(image, &access).await.unwrap_err();
        assert_eq!(error.class(), Class::Stalled);
        let said = format!(
            "image a:{wanted} in registry {} is for linux/s390x; the nodes are linux/",
            server.address
        );
        assert!(error.to_string().starts_with(&said), "{error}");
    }
}

#[tokio::test]
async fn what_a_registry_makes_up_is_quoted_short_and_without_what_a_terminal_obeys() {
    let long = r"\u001b[31m\u202ered".repeat(5_000);
    let platform = Platform::ours();
    let (os, architecture) = (platform.os, platform.architecture);
    let entry = format!(
        r#"{{"digest":"{long}","platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
    );
    for body in [
        format!(r#"{{"config":"{long}"}}"#),
        format!(r#"{{"config":{{"digest":"{long}","size":1}}}}"#),
        format!(r#"{{"mediaType":7,"{long}":1}}"#),
        format!(r#"{{"manifests":[{entry}]}}"#),
        format!(
            r#"{{"manifests":[{{"digest":"x","platform":{{"os":"{long}","architecture":""}}}}]}}"#
        ),
        format!(r#"{{"manifests":"{long}"}}"#),
    ] {
        let head: String = body.chars().take(60).collect();
        let server = Server::start(move |_, stream| say(stream, "200 OK", &body));
        let ours = Registry::new(&server.access()).unwrap();
        let image = Image {
            registry: &server.address,
            repository: "a",
            wanted: "x",
        };
        let access = ImageAccess {
            docker_config: None,
            registry: Whose::Ours(&ours),
        };
        let error = resolve(image, &access).await.unwrap_err().to_string();
        assert!(error.len() < 800, "{head}: {} bytes", error.len());
        assert!(error.chars().all(is_visible), "{head}: {error:?}");
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_no_account_is_seen() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (takes, answers, wanted) in [
        (
            "202 Accepted\r\nLocation: /v2/a/blobs/uploads/1",
            "200 OK",
            Some(Open::Write),
        ),
        ("401 Unauthorized", "200 OK", Some(Open::Read)),
        ("405 Method Not Allowed", "200 OK", Some(Open::Read)),
        (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"",
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"",
            Some(Open::No),
        ),
        ("503 Service Unavailable", "503 Service Unavailable", None),
    ] {
        let server = Server::start(move |head, stream| {
            let head = if head.starts_with("post") {
                takes
            } else {
                answers
            };
            say(stream, head, "");
        });
        let access = RegistryAccess {
            username: Some("u".into()),
            password: Some(Secret("p".into())),
            ..server.access()
        };
        let open = Registry::open(&access, "a").await;
        assert_eq!(open.ok(), wanted, "{takes}");
        assert!(
            server
                .asked()
                .iter()
                .all(|head| !head.contains("authorization"))
        );
        let given_up = server
            .asked()
            .iter()
            .any(|head| head.starts_with("delete /v2/a/"));
        assert_eq!(given_up, wanted == Some(Open::Write), "{takes}");
    }
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_, stream| say(stream, "302 Found\r\nLocation: /again", ""));
    let registry = server.registry(&named());
    let error = registry.manifest("a", "x").await.unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
    assert_eq!(server.asked().len(), 6);
    let lost = Server::start(|_, stream| say(stream, "302 Found", ""));
    let error = lost
        .registry(&named())
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not say where"), "{error}");
}

#[test]
fn nobody_leads_from_https_to_http() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base = Url::parse("https://r.example/").unwrap();
    let wire = Wire::trusted(base.clone(), named(), None).unwrap();
    let registry = Registry::by("r.example", wire);
    let doing = registry.doing("a", "read", "x");
    let led = |to: &'static str| {
        let to = HeaderValue::from_static(to);
        registry.wire.led(&doing, &base, Some(&to))
    };
    for (to, wanted) in [
        ("/v2/x?_state=1", "https://r.example/v2/x?_state=1"),
        ("https://u:p@cdn.example/x", "https://cdn.example/x"),
    ] {
        assert_eq!(led(to).unwrap().as_str(), wanted);
    }
    for (to, why) in [
        ("http://r.example/v2/x", "X-Forwarded-Proto"),
        ("file:///etc/passwd", "another protocol"),
        ("https://[", "no address"),
    ] {
        let error = led(to).unwrap_err();
        assert!(error.to_string().contains(why), "{to}: {error}");
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_not_asked_for() {
    let server = Server::start(|_, stream| say(stream, "200 OK", "{}"));
    let registry = server.registry(&named());
    for (repository, what) in [("../a", "x"), ("a?n=1", "x"), ("a", "x/../y"), ("", "x")] {
        let error = registry.manifest(repository, what).await.unwrap_err();
        assert!(matches!(error, RegistryError::Invalid { .. }), "{error}");
    }
    let blob = Descriptor {
        digest: "sha256:ab".into(),
        ..Descriptor::default()
    };
    assert!(registry.has("a", &blob).await.is_err());
    assert_eq!(server.asked().len(), 0);
}
