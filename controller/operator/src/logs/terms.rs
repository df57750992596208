//! The serving certificate, its registration and the front proxy's certificates → what connections are accepted with.

use std::{sync::Arc, time::Duration};

use kube::Client;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{sync::watch, time::sleep};

use crate::logs::{
    GROUP, VERSION,
    certificate::{self, CertificateError, Pair, RECHECK},
    front_proxy::{self, FrontProxy, FrontProxyError},
};
use slipway_k8s::{classify::chain, clock::Clock};

/// Interval between two checks for the APIService, while there is none.
const UNREGISTERED: Duration = Duration::from_secs(30);
/// Delay between two tries to get a certificate.
const RETRY: Duration = Duration::from_secs(5);

/// Where the API server finds this server.
pub(super) struct Registration {
    /// The API server.
    pub(super) client: Client,
    /// Namespace of the operator.
    pub(super) namespace: String,
    /// Service by which the API server finds it.
    pub(super) service: String,
    /// The current time.
    pub(super) clock: Clock,
    /// What is missing for serving. Readiness depends on it.
    pub(super) missing: watch::Sender<Vec<String>>,
}

/// What is missing before the first try.
pub fn wanted() -> Vec<String> {
    vec!["the serving certificate of build logs".to_owned()]
}

/// What is needed to accept connections.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) proxy: Arc<FrontProxy>,
}

/// Why connections cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum TermsError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    FrontProxy(#[from] FrontProxyError),
    #[error(
        "cannot serve TLS with the certificate of Secret {} and the authorities of the API server's front proxy",
        certificate::SECRET
    )]
    Tls(#[from] rustls::Error),
    #[error("a certificate is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the front proxy's certificates cannot be used")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Keeps certificate, registration and front proxy up to date for ever, and sends what is needed to accept connections.
pub(super) async fn refresh(server: &Registration, terms: &watch::Sender<Option<Terms>>) {
    let mut before: Option<(Pair, FrontProxy)> = None;
    let mut missing = false;
    loop {
        let now = (server.clock)();
        let mut unable = Vec::new();
        let wait = match renew(server, now, &mut before, terms).await {
            Ok(registered) => {
                if !registered && !missing {
                    tracing::warn!(
                        "there is no APIService {VERSION}.{GROUP} that names Service {}/{}: build logs cannot be read through the API server",
                        server.namespace,
                        server.service
                    );
                }
                missing = !registered;
                if registered { RECHECK } else { UNREGISTERED }
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "cannot serve build logs");
                unable = vec![format!("build logs: {error}")];
                RETRY
            }
        };
        // With the previous certificate, logs are still served.
        if before.is_some() {
            unable.clear();
        }
        server.missing.send_replace(unable);
        sleep(wait).await;
    }
}

async fn renew(
    server: &Registration,
    now: jiff::Timestamp,
    before: &mut Option<(Pair, FrontProxy)>,
    terms: &watch::Sender<Option<Terms>>,
) -> Result<bool, TermsError> {
    let pair = certificate::ensure(&server.client, &server.namespace, &server.service, now).await?;
    let proxy = front_proxy::read(&server.client).await?;
    if before.as_ref() != Some(&(pair.clone(), proxy.clone())) {
        let tls = tls(&pair, &proxy)?;
        terms.send_replace(Some(Terms {
            tls: Arc::new(tls),
            proxy: Arc::new(proxy.clone()),
        }));
        *before = Some((pair.clone(), proxy));
    }
    Ok(certificate::register(
        &server.client,
        &server.namespace,
        &server.service,
        &pair.authorities,
    )
    .await?)
}

pub(super) fn tls(pair: &Pair, proxy: &FrontProxy) -> Result<ServerConfig, TermsError> {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(proxy.ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let chain =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
