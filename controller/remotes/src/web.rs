//! Makes an HTTP client for a web server that a tenant has named. It connects only to the server's checked addresses.
//!
//! A client serves one server. It follows no redirects, so that the caller checks each of them. It asks for no
//! compression, so that limits count the bytes that are really read.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Client, Proxy, Url, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::resolve::{ResolveError, addresses};
use slipway_base::outside::Outside;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How web servers are reached: trusted certificates, proxies, and the policy for addresses.
#[derive(Clone, Debug)]
pub struct Web {
    outside: Outside,
    tls: ClientConfig,
    proxies: Arc<Matcher>,
}

/// The certificates or proxies of the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebError(String);

/// Why a server cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The server has no address, or the policy refuses one of them.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The client cannot be set up.
    #[error("{0}")]
    Client(String),
}

/// A server and the client for it.
#[derive(Clone, Debug)]
pub struct Server {
    /// Connects to it.
    pub client: Client,
    /// Its checked addresses; empty if only a proxy knows them.
    pub addresses: Vec<SocketAddr>,
    /// Whether credentials may be sent to it: over TLS, or because an administrator trusts the connection.
    pub private: bool,
}

/// An administrator's proxy variable by its lower-case name. If it is set in both cases, the lower-case one is used, as
/// in curl.
pub fn variable<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a String> {
    env.get(name)
        .or_else(|| env.get(&name.to_ascii_uppercase()))
}

/// The proxies that an administrator's variables set.
pub fn proxies(env: &BTreeMap<String, String>) -> Matcher {
    let variable = |name: &str| variable(env, name).cloned().unwrap_or_default();
    Matcher::builder()
        .all(variable("all_proxy"))
        .http(variable("http_proxy"))
        .https(variable("https_proxy"))
        .no(variable("no_proxy"))
        .build()
}

impl Web {
    /// `ca_pem` is a whole bundle that is trusted instead of the system's certificates. Only the proxy variables of
    /// `env` are read.
    pub fn new(
        outside: Outside,
        ca_pem: Option<&str>,
        env: &BTreeMap<String, String>,
    ) -> Result<Self, WebError> {
        Ok(Self {
            outside,
            tls: tls(ca_pem)?,
            proxies: Arc::new(proxies(env)),
        })
    }

    /// The policy for connections.
    pub const fn outside(&self) -> &Outside {
        &self.outside
    }

    /// Checks the server of an `http` or `https` address and makes a client for it.
    pub async fn server(&self, url: &Url) -> Result<Server, ServerError> {
        let broken = |error: &dyn std::fmt::Display| ServerError::Client(error.to_string());
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let policy = self.outside.policy();
        let uri: http::Uri = url.as_str().parse().map_err(|e| broken(&e))?;
        let proxy = self.proxies.intercept(&uri);
        let addresses = match addresses(&policy, host, port).await {
            // The proxy may know a name that this machine does not.
            Err(ResolveError::Unknown { .. }) if proxy.is_some() => Vec::new(),
            found => found?,
        };
        let trusted = |a: &SocketAddr| policy.trusts(host, port, a.ip());
        let private =
            url.scheme() == "https" || (!addresses.is_empty() && addresses.iter().all(trusted));
        let builder = Client::builder()
            .user_agent("slipway")
            .tls_backend_preconfigured(self.tls.clone())
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .http1_only()
            .no_proxy();
        let builder = match proxy {
            None => builder.resolve_to_addrs(host, &addresses),
            Some(proxy) => {
                let mut through = Proxy::all(proxy.uri().to_string()).map_err(|e| broken(&e))?;
                if let Some(who) = proxy.basic_auth() {
                    through = through.custom_http_auth(who.clone());
                }
                builder.proxy(through)
            }
        };
        Ok(Server {
            client: builder.build().map_err(|e| broken(&e))?,
            addresses,
            private,
        })
    }
}

fn tls(ca_pem: Option<&str>) -> Result<ClientConfig, WebError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let wrong = |error: &dyn std::fmt::Display| WebError(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?;
    let builder = match ca_pem {
        None => builder.with_platform_verifier().map_err(|e| wrong(&e))?,
        Some(pem) => {
            let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|e| wrong(&e))?;
            let mut roots = RootCertStore::empty();
            // A certificate in the bundle that cannot be parsed is not trusted.
            roots.add_parsable_certificates(certificates);
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::{ServerError, Web};
    use crate::resolve::ResolveError;
    use slipway_base::outside::{Outside, policy::Policy};
    use std::collections::BTreeMap;

    fn web(allow: &[&str], env: &[(&str, &str)]) -> Web {
        let policy = Policy {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            ..Policy::default()
        };
        let env: BTreeMap<_, _> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Web::new(Outside::new(policy), None, &env).unwrap()
    }

    #[tokio::test]
    async fn a_server_is_reached_at_addresses_that_were_checked() {
        let url = |text: &str| text.parse().unwrap();
        let strict = web(&[], &[]);
        for refused in [
            "http://127.0.0.1:1/",
            "http://LOCALHOST/",
            "https://[::1]/",
            "http://2130706433/",
        ] {
            let error = strict.server(&url(refused)).await.unwrap_err();
            assert!(
                matches!(error, ServerError::Resolve(ResolveError::Refused(_))),
                "{refused}: {error}"
            );
        }
        let lax = web(&["127.0.0.1:80"], &[]);
        let server = lax.server(&url("http://127.0.0.1/x")).await.unwrap();
        assert_eq!(server.addresses, ["127.0.0.1:80".parse().unwrap()]);
        // Without TLS, only a server that an administrator has named gets credentials.
        for (address, private) in [
            ("http://127.0.0.1/", true),
            ("http://198.51.100.7/", false),
            ("https://198.51.100.7/", true),
        ] {
            assert_eq!(
                lax.server(&url(address)).await.unwrap().private,
                private,
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn a_proxy_knows_names_that_we_do_not_and_leads_to_no_refused_address() {
        let url = |text: &str| text.parse().unwrap();
        let web = web(&[], &[("HTTPS_PROXY", "http://u:p@proxy.invalid:3128")]);
        let server = web.server(&url("https://git.invalid/")).await.unwrap();
        assert!(server.addresses.is_empty());
        // If the HTTP client chose not to use the proxy, it would still connect only to checked addresses.
        let known = web.server(&url("https://198.51.100.7/")).await.unwrap();
        assert_eq!(known.addresses, ["198.51.100.7:443".parse().unwrap()]);
        assert!(web.server(&url("https://127.0.0.1/")).await.is_err());
        assert!(web.server(&url("http://git.invalid/")).await.is_err());
    }
}
