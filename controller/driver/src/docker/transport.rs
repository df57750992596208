//! Makes an HTTP client for an engine's TCP address and certificates.
//!
//! The client of the Docker library opens a new TCP connection and TLS session for each of the dozen requests that a
//! zone takes. Its sockets also hold back small packets until the last one is acknowledged, 40 ms each time. This
//! client keeps its connections open.

use std::{io, path::Path, time::Duration};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// After how much silence TCP checks whether the other side still answers: if the engine's machine disappears, no
/// packet reports that.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_mins(1);

/// A client of the engine at `tcp://host:port`. With `certificates`, a folder of `ca.pem`, `cert.pem` and `key.pem`, it
/// uses TLS and trusts no other authority. This call does not connect; a request fails if its answer does not start
/// within the limit.
pub(super) fn client(
    address: &str,
    certificates: Option<&Path>,
    limit: Duration,
) -> Result<Docker, Error> {
    let (scheme, config) = match certificates {
        Some(folder) => ("https", mutual(folder)?),
        None => ("http", trusting_nobody()),
    };
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .build(connector(config));
    let ask = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(Error::from) }
    };
    let (_, host) = address.split_once("://").unwrap_or(("", address));
    Docker::connect_with_custom_transport(
        ask,
        Some(format!("{scheme}://{host}")),
        limit.as_secs(),
        API_DEFAULT_VERSION,
    )
}

fn connector(config: ClientConfig) -> HttpsConnector<HttpConnector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp)
}

/// TLS with certificates of the engine's own authority on both sides.
fn mutual(folder: &Path) -> io::Result<ClientConfig> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|e| explained(&path, e))
    };
    let certificates = |name: &str| -> io::Result<Vec<CertificateDer<'static>>> {
        let pem = read(name)?;
        CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|e| explained(&folder.join(name), e))
    };
    let mut authority = RootCertStore::empty();
    for certificate in certificates("ca.pem")? {
        authority
            .add(certificate)
            .map_err(|e| explained(&folder.join("ca.pem"), e))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")?)
        .map_err(|e| explained(&folder.join("key.pem"), e))?;
    ClientConfig::builder()
        .with_root_certificates(authority)
        .with_client_auth_cert(certificates("cert.pem")?, key)
        .map_err(|e| explained(&folder.join("cert.pem"), e))
}

/// Trusts no certificate: for an engine without TLS.
fn trusting_nobody() -> ClientConfig {
    ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn explained(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
