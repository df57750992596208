//! The cluster's settings of its front proxy, a client certificate, headers → the user who asks. Pure except [`read`].

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The ConfigMap in which the API server publishes these settings.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The API server's front proxy: how it is recognised, and the headers in which it names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// PEM: the authorities that sign its client certificate.
    pub ca_pem: String,
    /// Common names that its certificate may have; if empty, any.
    allowed_names: Vec<String>,
    user_headers: Vec<String>,
    uid_headers: Vec<String>,
    group_headers: Vec<String>,
    extra_prefixes: Vec<String>,
}

/// The user who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// UID, if there is one.
    pub uid: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Further attributes that the API server knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Why the user who asks is not known.
#[derive(Debug, thiserror::Error)]
pub enum FrontProxyError {
    /// The ConfigMap cannot be read.
    #[error(
        "cannot read ConfigMap {NAMESPACE}/{NAME}, which says how to recognise the API server's front proxy"
    )]
    Read(#[source] kube::Error),
    /// The ConfigMap lacks a key, or the key's value cannot be used.
    #[error(
        "ConfigMap {NAMESPACE}/{NAME} has no usable {0}: the API server has to run with its aggregation layer"
    )]
    Missing(&'static str),
    /// The caller's certificate is not the front proxy's.
    #[error("the client certificate of {0:?} is not the front proxy's")]
    NotAllowed(String),
    /// The request names no user.
    #[error("the request does not say for whom it is")]
    Nobody,
    /// A name is not UTF-8.
    #[error("a name of the user, or of one of the user's groups, is not UTF-8")]
    Unreadable,
}

/// Reads what the API server publishes.
pub async fn read(client: &Client) -> Result<FrontProxy, FrontProxyError> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map = maps.get(NAME).await.map_err(FrontProxyError::Read)?;
    FrontProxy::from_data(&map.data.unwrap_or_default())
}

impl FrontProxy {
    fn from_data(data: &BTreeMap<String, String>) -> Result<Self, FrontProxyError> {
        let list = |key: &'static str| -> Result<Vec<String>, FrontProxyError> {
            match data.get(key) {
                None => Ok(Vec::new()),
                Some(text) => serde_json::from_str(text).map_err(|_| FrontProxyError::Missing(key)),
            }
        };
        let ca_pem = data
            .get("requestheader-client-ca-file")
            .filter(|pem| !pem.trim().is_empty())
            .cloned()
            .ok_or(FrontProxyError::Missing("requestheader-client-ca-file"))?;
        let user_headers = list("requestheader-username-headers")?;
        if user_headers.is_empty() {
            return Err(FrontProxyError::Missing("requestheader-username-headers"));
        }
        Ok(Self {
            ca_pem,
            allowed_names: list("requestheader-allowed-names")?,
            user_headers,
            uid_headers: list("requestheader-uid-headers")?,
            group_headers: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// The user who asks. `certificate` is the caller's; TLS has checked that it is signed by [`Self::ca_pem`].
    pub fn user(&self, certificate: &[u8], headers: &HeaderMap) -> Result<User, FrontProxyError> {
        self.check(certificate)?;
        let first = |names: &[String]| -> Result<Option<String>, FrontProxyError> {
            let mut values = names.iter().filter_map(|name| headers.get(name));
            values.find(|value| !value.is_empty()).map(text).transpose()
        };
        let name = first(&self.user_headers)?.ok_or(FrontProxyError::Nobody)?;
        let groups = self
            .group_headers
            .iter()
            .flat_map(|header| headers.get_all(header))
            .map(text)
            .collect::<Result<_, _>>()?;
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| {
                header
                    .as_str()
                    .strip_prefix(&prefix.to_ascii_lowercase())
                    .map(unescaped)
            });
            if let Some(key) = key {
                extra.entry(key).or_default().push(text(value)?);
            }
        }
        Ok(User {
            name,
            uid: first(&self.uid_headers)?,
            groups,
            extra,
        })
    }

    /// Checks that the certificate has a name that the front proxy may have.
    pub fn check(&self, certificate: &[u8]) -> Result<(), FrontProxyError> {
        let unknown = || FrontProxyError::NotAllowed("an unreadable certificate".to_owned());
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| unknown())?;
        let names: Vec<&str> = certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect();
        let allowed = self.allowed_names.is_empty()
            || names
                .iter()
                .any(|name| self.allowed_names.iter().any(|allowed| allowed == name));
        if allowed {
            Ok(())
        } else {
            Err(FrontProxyError::NotAllowed(names.join(", ")))
        }
    }
}

/// Names may be in any script. If an unreadable one were left out, the access review would be about somebody else.
fn text(value: &HeaderValue) -> Result<String, FrontProxyError> {
    std::str::from_utf8(value.as_bytes())
        .map(str::to_owned)
        .map_err(|_| FrontProxyError::Unreadable)
}

/// Decodes the key of an extra header, which is percent-encoded.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
