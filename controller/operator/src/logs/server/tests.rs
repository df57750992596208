use crate::logs::server::accept;
use crate::logs::{
    certificate, front_proxy,
    requests::Desk,
    source::{Pieces, Source, SourceError},
    terms::{Terms, tls},
};
use kube::Client;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use serde_json::json;
use slipway_crds::v1alpha1::Build;
use slipway_support::fake_api::Fake;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsConnector;

struct Nothing;

impl Source for Nothing {
    async fn open(
        self: Arc<Self>,
        _: Build,
        _: bool,
        _: u64,
    ) -> Result<Option<Pieces>, SourceError> {
        Ok(None)
    }
}

/// An authority, and the client certificate of a front proxy that it has signed.
struct Pki {
    authority: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn pki() -> Pki {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "front-proxy");
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Pki {
        authority,
        certificate: certificate.der().clone(),
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    }
}

async fn terms(client: &Client, fake: &Fake, pki: &Pki) -> (Terms, RootCertStore) {
    fake.put(
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
        json!({"metadata": {"name": "extension-apiserver-authentication"}, "data": {
            "requestheader-client-ca-file": pki.authority,
            "requestheader-allowed-names": r#"["front-proxy"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
        }}),
    );
    #[expect(clippy::disallowed_methods, reason = "TLS looks at the clock, too")]
    let now = jiff::Timestamp::now();
    let pair = certificate::ensure(client, "system", "slipway", now)
        .await
        .unwrap();
    let proxy = front_proxy::read(client).await.unwrap();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pair.authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let terms = Terms {
        tls: Arc::new(tls(&pair, &proxy).unwrap()),
        proxy: Arc::new(proxy),
    };
    (terms, roots)
}

/// More silent connections than there are places of any kind, and from the same address as the API server's.
#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let fake = Fake::default();
    let client = fake.client();
    let pki = pki();
    let (terms, roots) = terms(&client, &fake, &pki).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_terms, receiver) = watch::channel(Some(terms));
    let desk = Desk {
        client,
        source: Arc::new(Nothing),
        seats: Arc::default(),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pki.certificate], pki.key)
        .unwrap();
    let answer = async {
        let mut silent = Vec::new();
        for _ in 0..600 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = "slipway.system.svc".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = b"GET /apis HTTP/1.1\r\nHost: slipway\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::select! {
        () = accept(listener, &desk, receiver) => unreachable!("it accepts for ever"),
        answer = timeout(Duration::from_secs(5), answer) => answer.unwrap(),
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("logs.slipway.dev"), "{answer}");
}
