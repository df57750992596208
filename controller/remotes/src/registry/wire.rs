//! Sends requests to a registry, with credentials only where they may go, and with limits on every answer.
//!
//! User name and password go to the registry's own host and to the token server that it names; over plain HTTP only if
//! the registry is configured for it. This module follows redirects itself: it checks each address like the first one
//! and sends credentials to no other server. If a tenant has written the registry's address, [`slipway_base::outside`]
//! checks each connection, as for git servers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Certificate, Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION},
    redirect,
};
use tokio::time::{Instant, timeout};

use crate::{
    registry::{
        RegistryError,
        account::{Account, Challenge, Token, token_url},
        doing::Doing,
    },
    resolve::ResolveError,
    web::{ServerError, Web},
};

/// Longest wait for a connection to open.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the start of an answer, for its next bytes, and for the whole of a small answer.
pub(super) const READ: Duration = Duration::from_mins(1);
/// Most redirects that are followed.
const HOPS: usize = 5;
/// A token that is valid for a shorter time than this is not used again.
const SPARE: Duration = Duration::from_secs(10);

/// Most bytes of one answer that are held in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of a manifest or config.
    pub(super) document: u64,
    /// Of a token server's answer.
    pub(super) token: u64,
    /// Of an answer with an error status.
    pub(super) error: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            document: 4 * 1024 * 1024,
            token: 64 * 1024,
            error: 8 * 1024,
        }
    }
}

/// The body of a request.
pub(super) enum Body {
    /// No body.
    Empty,
    /// Some bytes.
    Bytes(Bytes),
    /// A stream and its length. It can be sent only once.
    Stream(reqwest::Body, u64),
}

impl Body {
    /// A copy, if the body can be sent again.
    fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Stream(..) => None,
        }
    }
}

/// A request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// The scopes that the token needs.
    pub(super) scopes: &'a [String],
    /// Longest wait for the start of the answer. It includes the time for sending the body.
    pub(super) wait: Duration,
}

impl<'a> Ask<'a> {
    /// A request without headers and body.
    pub(super) fn new(method: Method, url: Url, scopes: &'a [String]) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            scopes,
            wait: READ,
        }
    }
}

/// A registry, and how to connect to it.
pub(super) struct Wire {
    base: Url,
    account: Account,
    way: Way,
    pub(super) bounds: Bounds,
    known: Mutex<Known>,
}

/// Which connections are allowed.
enum Way {
    /// An administrator has named the registry, and also trusts the addresses that it names.
    Trusted(Client),
    /// A tenant has named the registry: each server gets a client of its own, which connects to no other server.
    Outside {
        web: Box<Web>,
        clients: Mutex<BTreeMap<String, Client>>,
    },
}

/// The registry's challenge and the tokens for it.
#[derive(Default)]
struct Known {
    challenge: Option<Challenge>,
    tokens: BTreeMap<Vec<String>, (HeaderValue, Instant)>,
}

impl Wire {
    /// A registry that an administrator has named. `base` is `https://host:port/`, or `http:` if the registry is
    /// configured so.
    pub(super) fn trusted(
        base: Url,
        account: Account,
        ca_pem: Option<&str>,
    ) -> Result<Self, reqwest::Error> {
        let certificates = ca_pem
            .map(|pem| Certificate::from_pem_bundle(pem.as_bytes()))
            .transpose()?
            .unwrap_or_default();
        let client = Client::builder()
            .user_agent("slipway")
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none())
            .tls_certs_merge(certificates)
            .build()?;
        Ok(Self::by(base, account, Way::Trusted(client)))
    }

    /// The same registry for another account. Connections are shared, tokens are not.
    pub(super) fn with_account(&self, account: Account) -> Self {
        let way = match &self.way {
            Way::Trusted(client) => Way::Trusted(client.clone()),
            Way::Outside { web, .. } => Way::Outside {
                web: web.clone(),
                clients: Mutex::default(),
            },
        };
        Self::by(self.base.clone(), account, way)
    }

    /// A registry that a tenant has named.
    pub(super) fn outside(base: Url, account: Account, web: Web) -> Self {
        let way = Way::Outside {
            web: Box::new(web),
            clients: Mutex::default(),
        };
        Self::by(base, account, way)
    }

    fn by(base: Url, account: Account, way: Way) -> Self {
        Self {
            base,
            account,
            way,
            bounds: Bounds::default(),
            known: Mutex::default(),
        }
    }

    /// An address of the registry's API. `parts` cannot lead out of the API's path.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().push("v2");
            for part in parts {
                path.extend(part.split('/'));
            }
        }
        url
    }

    /// Checks an address that the registry has named in its answer to a request to `from`.
    pub(super) fn led(
        &self,
        doing: &Doing<'_>,
        from: &Url,
        to: Option<&HeaderValue>,
    ) -> Result<Url, RegistryError> {
        let to = to.ok_or_else(|| doing.misled("somewhere, and does not say where"))?;
        let led = to.to_str().ok().and_then(|to| from.join(to).ok());
        let mut led = led.ok_or_else(|| doing.misled("to what is no address"))?;
        if !matches!(led.scheme(), "http" | "https") {
            return Err(doing.misled("to another protocol than HTTP"));
        }
        if led.scheme() == "http" && self.base.scheme() != "http" {
            return Err(doing.misled(
                "on to plain HTTP: a proxy in front of it has to tell it that it is reached by HTTPS (X-Forwarded-Proto)",
            ));
        }
        // Credentials in an address are removed and sent to no server.
        let _ = led.set_username("");
        let _ = led.set_password(None);
        Ok(led)
    }

    /// Sends a request to the registry. An answer with an error status is returned, too.
    pub(super) async fn send(
        &self,
        doing: &Doing<'_>,
        ask: Ask<'_>,
    ) -> Result<Response, RegistryError> {
        let mut ask = ask;
        let mut renewed = false;
        loop {
            let authorization = self.authorization(doing, ask.scopes).await?;
            let again = Ask {
                body: ask.body.again().unwrap_or(Body::Empty),
                headers: ask.headers.clone(),
                url: ask.url.clone(),
                method: ask.method.clone(),
                ..ask
            };
            let may_repeat = ask.body.again().is_some();
            let told = authorization.is_some();
            let response = self
                .follow(doing, ask, authorization.as_ref(), &self.base)
                .await?;
            let refused = response.status() == StatusCode::UNAUTHORIZED
                && same_server(response.url(), &self.base);
            if !refused {
                return Ok(response);
            }
            // Either the request had no credentials, or its token has expired.
            let Some(challenge) = Challenge::of(response.headers()) else {
                return Ok(response);
            };
            let needless = match challenge {
                Challenge::Basic => told || self.account == Account::Anonymous,
                Challenge::Bearer { .. } => false,
            };
            self.learn(challenge, again.scopes);
            if renewed || needless || !may_repeat {
                return Ok(response);
            }
            renewed = true;
            ask = again;
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, challenge: Challenge, scopes: &[String]) {
        let mut known = self.known();
        known.tokens.remove(scopes);
        known.challenge = Some(challenge);
    }

    /// The authorization header that the registry's last challenge asks for.
    async fn authorization(
        &self,
        doing: &Doing<'_>,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let (challenge, token) = {
            let known = self.known();
            (known.challenge.clone(), known.tokens.get(scopes).cloned())
        };
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.account.basic()),
            Some(Challenge::Bearer { realm, service }) => {
                let now = Instant::now();
                if let Some((header, until)) = token
                    && now < until
                {
                    return Ok(Some(header));
                }
                let token = self
                    .token(doing, &realm, service.as_deref(), scopes)
                    .await?;
                let header = token.header.clone();
                let until = now + token.lifetime.saturating_sub(SPARE);
                let mut known = self.known();
                known.tokens.retain(|_, (_, until)| *until > now);
                known.tokens.insert(scopes.to_vec(), (token.header, until));
                Ok(Some(header))
            }
        }
    }

    /// Requests a token from the token server.
    async fn token(
        &self,
        doing: &Doing<'_>,
        realm: &Url,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Token, RegistryError> {
        let url = HeaderValue::from_str(realm.as_str()).ok();
        let realm = self.led(doing, &self.base, url.as_ref())?;
        let ask = Ask::new(Method::GET, token_url(&realm, service, scopes), &[]);
        let account = self.account.basic();
        let response = self.follow(doing, ask, account.as_ref(), &realm).await?;
        if !response.status().is_success() {
            return Err(self.trouble(doing, response).await);
        }
        let body = bounded(doing, response, self.bounds.token, "token").await?;
        Token::of(&body).ok_or_else(|| doing.invalid("token", "there is none in the answer"))
    }

    /// Sends a request and follows redirects. Only the server of `home` gets the credentials.
    async fn follow(
        &self,
        doing: &Doing<'_>,
        ask: Ask<'_>,
        authorization: Option<&HeaderValue>,
        home: &Url,
    ) -> Result<Response, RegistryError> {
        let Ask {
            mut method,
            mut url,
            headers,
            mut body,
            scopes: _,
            wait,
        } = ask;
        for _ in 0..=HOPS {
            let client = self.client(doing, &url).await?;
            let again = body.again();
            let mut request = client
                .request(method.clone(), url.clone())
                .headers(headers.clone());
            if let Some(authorization) = authorization
                && same_server(&url, home)
            {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let request = match body {
                Body::Empty if method == Method::POST => request.header(CONTENT_LENGTH, 0),
                Body::Empty => request,
                Body::Bytes(bytes) => request.body(bytes),
                Body::Stream(stream, size) => request.header(CONTENT_LENGTH, size).body(stream),
            };
            let response = timeout(wait, request.send())
                .await
                .map_err(|_| doing.silent(wait))?
                .map_err(|error| doing.request(error))?;
            let next = match (response.status().as_u16(), again) {
                (301 | 302 | 303 | 307 | 308, _) if is_read(&method) => Body::Empty,
                // A redirected write keeps its body, and must stay on the same server.
                (307 | 308, Some(again)) => again,
                _ => return Ok(response),
            };
            let to = self.led(doing, &url, response.headers().get(LOCATION))?;
            if !is_read(&method) && !same_server(&to, &url) {
                return Err(doing.misled("elsewhere with what is to be written"));
            }
            if response.status() == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
            }
            (url, body) = (to, next);
        }
        Err(doing.misled("from one address to the next, without end"))
    }

    /// The client that may connect to this address.
    async fn client(&self, doing: &Doing<'_>, url: &Url) -> Result<Client, RegistryError> {
        let (web, clients) = match &self.way {
            Way::Trusted(client) => return Ok(client.clone()),
            Way::Outside { web, clients } => (web, clients),
        };
        let lock = || clients.lock().unwrap_or_else(PoisonError::into_inner);
        let server = url.origin().ascii_serialization();
        if let Some(client) = lock().get(&server) {
            return Ok(client.clone());
        }
        let found = web.server(url).await.map_err(|error| match error {
            ServerError::Resolve(ResolveError::Refused(refused)) => RegistryError::Outside(refused),
            other => doing.unreachable(other.to_string()),
        })?;
        lock().insert(server, found.client.clone());
        Ok(found.client)
    }

    /// The error for an answer with an error status.
    pub(super) async fn trouble(&self, doing: &Doing<'_>, response: Response) -> RegistryError {
        let status = response.status();
        // A body that is too long or broken is ignored: the status says enough.
        let body = bounded(doing, response, self.bounds.error, "answer").await;
        doing.status(status, &body.unwrap_or_default())
    }

    /// The body of a small answer.
    pub(super) async fn document(
        &self,
        doing: &Doing<'_>,
        response: Response,
    ) -> Result<Bytes, RegistryError> {
        bounded(doing, response, self.bounds.document, "document").await
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether two addresses have the same scheme, host and port.
fn same_server(one: &Url, other: &Url) -> bool {
    let server = |url: &Url| {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_ascii_lowercase),
            url.port_or_known_default(),
        )
    };
    server(one) == server(other)
}

/// Reads a body within a limit of bytes and within the time for a small answer. A longer body is never held in memory.
async fn bounded(
    doing: &Doing<'_>,
    mut response: Response,
    most: u64,
    what: &'static str,
) -> Result<Bytes, RegistryError> {
    let too_long = || doing.invalid(what, format!("it is longer than {most} bytes"));
    let read = async {
        if response
            .content_length()
            .is_some_and(|length| length > most)
        {
            return Err(too_long());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| doing.request(e))? {
            if (body.len() + chunk.len()) as u64 > most {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    timeout(READ, read).await.map_err(|_| doing.silent(READ))?
}
