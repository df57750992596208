//! Connects to a host and port, directly or through the administrator's proxy, unless the policy refuses it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::{
    client::{
        legacy::connect::proxy::Tunnel,
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tokio::{net::TcpStream, time::timeout};
use tower::{Service as _, service_fn};

use slipway_base::outside::policy::{Policy, Refused};
use slipway_remotes::{
    resolve::{self, ResolveError},
    web::proxies,
};

/// How long a server may take to accept a connection.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWay {
    /// The policy refuses this address for builds.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name has no address.
    #[error(transparent)]
    Unknown(ResolveError),
    /// The server does not answer.
    #[error("{host}:{port} does not answer: {message}")]
    Away {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        message: String,
    },
    /// The administrator's proxy does not answer, or refuses.
    #[error("the proxy that builds.env names does not lead to {host}:{port}: {message}")]
    Proxy {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What it said.
        message: String,
    },
}

impl From<ResolveError> for NoWay {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Refused(refused) => Self::Refused(refused),
            unknown @ ResolveError::Unknown { .. } => Self::Unknown(unknown),
        }
    }
}

/// A connection on which a request is sent.
pub(super) struct Hop {
    /// The connection.
    pub stream: TcpStream,
    /// What is at the other end.
    pub end: End,
}

/// What the request is sent to.
pub(super) enum End {
    /// The server itself.
    Server,
    /// The administrator's proxy, which needs the absolute URL.
    Proxy {
        /// `Proxy-Authorization`.
        account: Option<HeaderValue>,
    },
}

/// How the proxy of a build connects.
pub(super) struct Way {
    policy: Policy,
    proxies: Matcher,
}

impl Way {
    /// Takes the proxies from `env`, which holds `builds.env`.
    pub(super) fn new(policy: Policy, env: &BTreeMap<String, String>) -> Self {
        Self {
            policy,
            proxies: proxies(env),
        }
    }

    /// A connection to `host` for CONNECT.
    pub(super) async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, NoWay> {
        let to = address(&Scheme::HTTPS, host, port);
        let Some(proxy) = to.as_ref().and_then(|to| self.proxies.intercept(to)) else {
            return self.direct(host, port).await;
        };
        self.allowed_beyond(host, port).await?;
        let stream = TokioIo::new(dial(&proxy).await?);
        let failed = |message: String| NoWay::Proxy {
            host: host.to_owned(),
            port,
            message,
        };
        // The connection exists already; the tunnel only takes it.
        let mut stream = Some(stream);
        let connector = service_fn(move |_: Uri| {
            let stream = stream
                .take()
                .ok_or_else(|| std::io::Error::other("asked twice"));
            std::future::ready(stream)
        });
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
        if let Some(account) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(account.clone());
        }
        let asked = tunnel.call(to.unwrap_or_default());
        match timeout(DEADLINE, asked).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer in {} s", DEADLINE.as_secs()))),
        }
    }

    /// A connection for one request over plain http.
    pub(super) async fn plain(&self, host: &str, port: u16) -> Result<Hop, NoWay> {
        let to = address(&Scheme::HTTP, host, port);
        let Some(proxy) = to.and_then(|to| self.proxies.intercept(&to)) else {
            return Ok(Hop {
                stream: self.direct(host, port).await?,
                end: End::Server,
            });
        };
        self.allowed_beyond(host, port).await?;
        Ok(Hop {
            stream: dial(&proxy).await?,
            end: End::Proxy {
                account: proxy.basic_auth().cloned(),
            },
        })
    }

    async fn direct(&self, host: &str, port: u16) -> Result<TcpStream, NoWay> {
        let addresses = resolve::addresses(&self.policy, host, port).await?;
        let connected = timeout(DEADLINE, TcpStream::connect(addresses.as_slice())).await;
        let away = |message: String| NoWay::Away {
            host: host.to_owned(),
            port,
            message,
        };
        connected
            .map_err(|_| away(format!("no connection in {} s", DEADLINE.as_secs())))?
            .map_err(|error| away(error.to_string()))
    }

    /// Checks a host that the administrator's proxy will connect to. A name that only that proxy can resolve is
    /// allowed; an address that is known here has to satisfy the policy.
    async fn allowed_beyond(&self, host: &str, port: u16) -> Result<(), NoWay> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(self.policy.check(host, port, address)?);
        }
        match resolve::addresses(&self.policy, host, port).await {
            Err(ResolveError::Refused(refused)) => Err(refused.into()),
            _ => Ok(()),
        }
    }
}

fn address(scheme: &Scheme, host: &str, port: u16) -> Option<Uri> {
    Uri::builder()
        .scheme(scheme.clone())
        .authority(format!("{host}:{port}"))
        .path_and_query("/")
        .build()
        .ok()
}

/// Connects to the administrator's proxy. Its address is not checked, because the administrator has named it.
async fn dial(proxy: &Intercept) -> Result<TcpStream, NoWay> {
    let uri = proxy.uri();
    let host = uri.host().unwrap_or_default().to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let failed = |message: String| NoWay::Proxy {
        host: host.clone(),
        port,
        message,
    };
    if uri.scheme_str() != Some("http") {
        return Err(failed("only http:// proxies are spoken to".to_owned()));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    timeout(DEADLINE, TcpStream::connect((bare, port)))
        .await
        .map_err(|_| failed(format!("no connection in {} s", DEADLINE.as_secs())))?
        .map_err(|error| failed(error.to_string()))
}
