//! Accounts, challenges and tokens: how a client authenticates to a registry. Pure.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;

/// Lifetime of a token in seconds, if the token server names none.
const LIFETIME: u64 = 60;
/// Longest time in seconds that a token is kept, whatever the token server says.
const LONGEST: u64 = 60 * 60;

/// An account of a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// No account.
    Anonymous,
    /// A user name and a password.
    Named {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Named { .. } => "Named([redacted])",
        })
    }
}

impl Account {
    /// The header with user name and password; `None` for no account.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let Self::Named { username, password } = self else {
            return None;
        };
        let told = STANDARD.encode(format!("{username}:{password}"));
        secret(&format!("Basic {told}"))
    }
}

/// A header value that is never printed; `None` if the text is no valid value.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a registry demands for authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// Address of the token server.
        realm: Url,
        /// The service that the token is for.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge in the headers of an answer; if there are several, the one for a token. `None` if the answer names
    /// no scheme that the client knows.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut basic = false;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = header.to_str() else { continue };
            let Ok(challenges) = http_auth::parse_challenges(text) else {
                continue;
            };
            for challenge in challenges {
                let find = |wanted: &str| {
                    let mut params = challenge.params.iter();
                    params
                        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                        .map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let Some(realm) = find("realm").and_then(|realm| Url::parse(&realm).ok())
                    else {
                        continue;
                    };
                    let service = find("service");
                    return Some(Self::Bearer { realm, service });
                }
                basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            }
        }
        basic.then_some(Self::Basic)
    }
}

/// The address that a token for `scopes` is requested from.
pub(super) fn token_url(realm: &Url, service: Option<&str>, scopes: &[String]) -> Url {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
    }
    url
}

/// A token and its lifetime.
pub(super) struct Token {
    /// The header that carries it.
    pub(super) header: HeaderValue,
    /// Counted from the moment when it was requested.
    pub(super) lifetime: Duration,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Token {
    /// Reads the token server's answer; `None` if it holds no token.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let token = answer.token.or(answer.access_token)?;
        let lifetime = answer.expires_in.unwrap_or(LIFETIME).min(LONGEST);
        Some(Self {
            header: secret(&format!("Bearer {token}"))?,
            lifetime: Duration::from_secs(lifetime),
        })
    }
}

#[cfg(test)]
mod tests;
